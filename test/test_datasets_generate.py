"""Generation with the real simulator: the same bytes from any number of workers, resumable, and counted right."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from amodal_perception_ros.datasets.amodal_synth_drive import DatasetError, read_sequences
from amodal_perception_ros.datasets.generate import generate, read_overrides, sequence_configs
from amodal_perception_ros.errors import InputError

SMALL = {"frames": 1, "seed": 40, "width": 64, "height": 32, "supersample": 1}


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def parallel(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("parallel"), 2, workers=2, weather="all", **SMALL)


def test_workers_and_resuming_change_nothing(parallel, tmp_path, capsys):
    done = content(parallel)
    generate(parallel, 2, workers=2, weather="all", **SMALL)
    assert capsys.readouterr().out == ""
    assert content(parallel) == done
    (parallel / "sequences" / "seq_000041.json").unlink()
    assert [reader.name for reader in read_sequences(parallel)] == ["seq_000040"]
    generate(parallel, 2, weather="all", **SMALL)
    assert capsys.readouterr().out == ("1 of 2 sequences are finished already\nseq_000041 finished (1 of 1)\n")
    assert content(parallel) == done


def test_the_manifest_names_seeds_and_settings(parallel):
    sequences = json.loads((parallel / "manifest.json").read_text())["sequences"]
    assert [s["seed"] for s in sequences.values()] == [40, 41]
    assert [s["weather"] for s in sequences.values()] == ["day", "overcast"]
    readers = read_sequences(parallel)
    assert [reader.info["seed"] for reader in readers] == [40, 41]
    sample = readers[1][0]
    assert list(sample.truth.cameras) == ["front", "right", "back", "left"]
    assert sample.frame.images["left"].shape == (32, 64, 3)
    assert len(sample.frame.lidar) > 1000
    assert sum(len(scene.instances) for scene in sample.truth.cameras.values()) > 0


def test_other_settings_or_bad_ones_are_refused(parallel, tmp_path):
    with pytest.raises(InputError, match=r"sequence seq_000040 was made with other settings \(rate_hz\)"):
        generate(parallel, 2, weather="all", rate_hz=5.0, **SMALL)
    with pytest.raises(InputError, match=r"cannot simulate: SequenceConfig\.weather = 'hail'"):
        generate(tmp_path, 1, weather="hail", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_worker_is_reported_and_leaves_no_sequence(tmp_path):
    def kill_a_worker():
        while not multiprocessing.active_children():
            time.sleep(0.01)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    with pytest.raises(DatasetError, match="a simulator process died"):
        generate(tmp_path, 2, workers=2, **SMALL)
    killer.join()
    with pytest.raises(DatasetError):
        read_sequences(tmp_path)


def test_ctrl_c_stops_all_workers_and_leaves_no_sequence(tmp_path):
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from amodal_perception_ros.datasets.generate import generate\n"
        f"generate({str(tmp_path)!r}, 4, frames=500, seed=40, width=64, height=32, workers=2, supersample=1)\n"
    )
    root = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        while process.poll() is None and not list(tmp_path.rglob("*_frame.json")):
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
