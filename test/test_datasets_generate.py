"""Generation with the real simulator: the same bytes from any number of workers, resumable, nothing half-written."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from amodal_perception_ros import __version__
from amodal_perception_ros.datasets.amodal_synth_drive import DatasetError, read_sequences
from amodal_perception_ros.datasets.generate import generate, read_overrides, sequence_configs
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.simulation.config import LAYOUTS
from amodal_perception_ros.simulation.sensing.rig import draw_rig
from amodal_perception_ros.simulation.weather import draw_weather

SMALL = {"frames": 1, "seed": 40, "width": 64, "height": 32, "supersample": 1, "traffic": 0.3,
         "overrides": {"people": {"figures": 4}}}  # fmt: skip


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def configs(sequences, **settings):
    return sequence_configs(sequences, **{**SMALL, "weather": "all", **settings})


@pytest.fixture(scope="module")
def parallel(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("parallel"), configs(3), workers=2)


def test_workers_change_nothing(parallel, tmp_path):
    alone = content(generate(tmp_path, configs(3)))
    together = content(parallel)
    assert sorted(alone) == sorted(together)
    assert [name for name in alone if alone[name] != together[name]] == []
    assert {Path(name).parts[0] for name in together} >= {"images", "amodal_panoptic_seg", "flow", "lidar", "sequences"}


def test_finished_sequences_are_kept_and_missing_ones_made_again(parallel, capsys):
    done = content(parallel)
    generate(parallel, configs(3), workers=2)
    assert capsys.readouterr().out == "all 3 sequences are finished already\n"
    assert content(parallel) == done
    (parallel / "sequences" / "seq_000041.json").unlink()
    assert [reader.name for reader in read_sequences(parallel)] == ["seq_000040", "seq_000042"]
    generate(parallel, configs(3))
    assert capsys.readouterr().out == "2 of 3 sequences are finished already\nseq_000041 finished (1 of 1)\n"
    assert content(parallel) == done


def test_the_manifest_names_settings_and_what_they_came_to(parallel):
    sequences = json.loads((parallel / "manifest.json").read_text())["sequences"]
    assert [s["seed"] for s in sequences.values()] == [40, 41, 42]
    assert [s["weather"] for s in sequences.values()] == ["day", "overcast", "dusk"]
    assert [s["layout"] for s in sequences.values()] == ["random"] * 3
    for name, settings in sequences.items():
        assert settings["version"] == __version__
        assert settings["resolved"]["weather"] == settings["weather"]
        assert settings["resolved"]["layout"] in LAYOUTS
        assert settings["resolved"]["renderer"] in ("opengl", "raycast")
        assert settings["resolved"]["occlusion"] in ("designed", "as it came")
        assert json.loads((parallel / "sequences" / f"{name}.json").read_text())["info"] == settings
    sample = read_sequences(parallel)[1][0]
    assert list(sample.truth.cameras) == ["front", "right", "back", "left"]
    assert sample.frame.images["left"].shape == (32, 64, 3)
    assert len(sample.frame.lidar) > 1000
    assert sum(len(scene.instances) for scene in sample.truth.cameras.values()) > 0


def test_other_settings_are_refused(parallel):
    before = content(parallel)
    with pytest.raises(InputError, match=r"sequence seq_000040 was made with other settings \(rate_hz\)"):
        generate(parallel, configs(3, rate_hz=5.0))
    with pytest.raises(InputError, match=r"sequence seq_000040 was made with other settings \(derived\)"):
        generate(parallel, configs(3), derived=False)
    assert content(parallel) == before
    (parallel / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"sequence seq_000040 was made with other settings \(rate_hz\)"):
        generate(parallel, configs(3, rate_hz=5.0))
    generate(parallel, configs(3))
    assert content(parallel) == before


@pytest.mark.parametrize("text", ["{}", "[]", '{"sequences": []}', '{"sequences": {"seq_000040": 5}}', "{"])
def test_a_wrong_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DatasetError, match=r"manifest\.json: not (a manifest of 'amodal simulate'|valid JSON)"):
        generate(tmp_path, configs(1))
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("text", ["{}", "[]", "3"])
def test_a_wrong_description_of_a_finished_sequence_is_named(tmp_path, text):
    (tmp_path / "sequences").mkdir()
    (tmp_path / "sequences/seq_000040.json").write_text(text)
    with pytest.raises(DatasetError, match=r"seq_000040\.json: not a sequence description"):
        generate(tmp_path, configs(1))


def test_two_simulations_into_one_folder_never_mix(tmp_path):
    """The second is told of the first, and all is there in the end."""
    made = configs(2, frames=3)
    running = multiprocessing.get_context("spawn").Process(target=generate, args=(tmp_path, made))
    running.start()
    while running.is_alive() and not (tmp_path / "manifest.json").exists():
        time.sleep(0.01)
    for attempt in (made, configs(1, seed=90)):
        with pytest.raises(DatasetError, match="another 'amodal simulate' is writing there"):
            generate(tmp_path, attempt)
    running.join()
    assert running.exitcode == 0
    readers = read_sequences(tmp_path)
    assert [(reader.name, len(reader)) for reader in readers] == [("seq_000040", 3), ("seq_000041", 3)]
    for reader in readers:
        reader.check()
    assert list(json.loads((tmp_path / "manifest.json").read_text())["sequences"]) == ["seq_000040", "seq_000041"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("weather", "hail"), ("layout", "maze"), ("renderer", "magic"), ("width", -5), ("frames", 0), ("rate_hz", 0.0),
     ("seed", -1), ("supersample", 0)],
)  # fmt: skip
def test_impossible_settings_are_named(setting, value):
    with pytest.raises(InputError, match=rf"cannot simulate: SequenceConfig\.{setting} = "):
        configs(1, **{setting: value})


def test_no_worker_is_refused(tmp_path):
    with pytest.raises(InputError, match="0 workers"):
        generate(tmp_path, configs(1), workers=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weather: [", "not valid YAML"),
        ("- day", "expected a mapping"),
        ("weather: {kindness: 3}", "no entry 'weather.kindness'"),
        ("rig: {camera_height: {uniform: [2, 1]}}", "'rig.camera_height' is"),
        ("rig: {fov: 180}", "'rig.fov' is 180; expected numbers from 20 to 150"),
    ],
)
def test_wrong_distributions_are_named(tmp_path, text, message):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        configs(1, overrides=read_overrides(path))
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read"):
        read_overrides(tmp_path / "none.yaml")


def test_distributions_are_replaced(tmp_path):
    (tmp_path / "my.yaml").write_text("rig: {square_fov: {chance: 0}, fov: 60}\nweather: {kind: {choice: {fog: 1}}}")
    (made,) = configs(1, weather="random", overrides=read_overrides(tmp_path / "my.yaml"))
    camera = draw_rig(made).camera("front")
    assert np.degrees(2 * np.arctan(camera.width / 2 / camera.intrinsics[0, 0])) == pytest.approx(60)
    assert draw_weather(made).name == "fog"


def test_a_killed_worker_is_reported_and_leaves_no_sequence(tmp_path):
    def kill_a_worker():
        while not multiprocessing.active_children():
            time.sleep(0.01)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    with pytest.raises(DatasetError, match=r"sequence seq_00004[01]: its simulator process died"):
        generate(tmp_path, configs(2), workers=2)
    killer.join()
    with pytest.raises(DatasetError):
        read_sequences(tmp_path)


@pytest.mark.parametrize(("kind", "workers"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_ctrl_c_and_termination_stop_all_work_and_leave_no_sequence(tmp_path, kind, workers):
    # What a shell starts in the background ignores Ctrl-C; it has to end on SIGTERM all the same.
    keyboard = "default_int_handler" if kind == signal.SIGINT else "SIG_IGN"
    program = (
        f"import signal; signal.signal(signal.SIGINT, signal.{keyboard})\n"
        "from amodal_perception_ros.datasets.generate import generate, sequence_configs\n"
        f"generate({str(tmp_path)!r}, sequence_configs(4, **{SMALL | {'frames': 500}}), workers={workers})\n"
    )
    root = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        while process.poll() is None and not list(tmp_path.rglob("*_frame.json")):
            time.sleep(0.1)
        # Ctrl-C reaches the whole group of processes, a batch system terminates the parent.
        os.killpg(process.pid, kind) if kind == signal.SIGINT else process.terminate()
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
