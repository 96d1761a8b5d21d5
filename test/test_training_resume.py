"""A run that was interrupted, killed or damaged: it goes on exactly, or says why it cannot."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from test_training_data import write_sequences
from training_runs import CPU, SMALL, make_config, read_log, run, same, start, write_config

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import NetworkConfig, load_weights
from amodal_perception_ros.training import train as loop
from amodal_perception_ros.training.checkpoint import load_checkpoint, run_identity, save_checkpoint
from amodal_perception_ros.training.run_log import RunLog
from amodal_perception_ros.training.state import new_state
from amodal_perception_ros.training.train import CHECKPOINT, train

FILES = {(128, 96): [Path("a-2-12ab/00000_front.npz"), Path("a-2-12ab/00000_back.npz")]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_sequences(tmp_path_factory.mktemp("data"), ["a", "b"], frames=2)


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("straight")
    train([data], out, make_config())
    return out


def checkpoint_of(out):
    return torch.load(out / CHECKPOINT, weights_only=True)


def assert_equal_runs(first, second):
    ours, theirs = checkpoint_of(first), checkpoint_of(second)
    assert ours["step"] == theirs["step"]
    assert same(ours["network"], theirs["network"])
    assert same(ours["average"], theirs["average"])
    for one, other in zip(ours["optimizer"]["state"].values(), theirs["optimizer"]["state"].values(), strict=True):
        assert same(one, other)
    weights = [load_weights(out / loop.WEIGHTS)[0].state_dict() for out in (first, second)]
    assert same(*weights)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_stopped_by_ctrl_c_goes_on_exactly(data, straight, tmp_path, workers, capsys, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    take_step = loop.train_step

    def interrupted(state, *rest):
        if state.step == 2:
            signal.raise_signal(signal.SIGINT)
        return take_step(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train([data], tmp_path, make_config(workers=workers))
    assert f"step 3 is saved in {tmp_path}" in capsys.readouterr().out, "the step under way is finished"
    assert checkpoint_of(tmp_path)["step"] == 3
    train([data], tmp_path, make_config(workers=workers), resume=True)
    assert_equal_runs(straight, tmp_path)
    assert signal.getsignal(signal.SIGINT) == handler, "what happens on Ctrl-C is as before"


def test_the_command_says_how_to_go_on_after_ctrl_c_in_the_terminal(data, straight, tmp_path):
    config = write_config(tmp_path / "train.yaml", workers=1, max_steps=100000)
    arguments = ("train", "--data", data, "--out", tmp_path / "run", "--config", config)
    process = start(*arguments)
    wait_for(tmp_path / "run" / "log.jsonl")
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 130
    assert "repeat the command with --resume" in output
    assert errors.splitlines()[-1] == "amodal: interrupted"
    assert "Traceback" not in errors
    assert checkpoint_of(tmp_path / "run")["step"] >= 2


def test_a_killed_run_keeps_a_whole_checkpoint_and_goes_on_exactly(data, straight, tmp_path):
    config = write_config(tmp_path / "train.yaml", checkpoint_minutes=0)
    arguments = ("train", "--data", data, "--out", tmp_path / "run", "--config", config)
    process = start(*arguments)
    wait_for(tmp_path / "run" / CHECKPOINT)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert 1 <= checkpoint_of(tmp_path / "run")["step"] <= 6
    (tmp_path / "run" / f"{CHECKPOINT}.part").write_bytes(b"cut short")
    with (tmp_path / "run" / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "elaps')
    code, output, errors = run(*arguments, "--resume")
    assert code == 0, errors
    assert "validation quality" in output
    assert_equal_runs(straight, tmp_path / "run")
    steps = [entry["step"] for entry in read_log(tmp_path / "run") if "loss" in entry]
    assert steps == sorted(set(steps))


def wait_for(path):
    deadline = time.monotonic() + 500
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} does not appear"
        time.sleep(0.02)


def test_the_log_forgets_what_came_after_the_checkpoint(tmp_path):
    kept = '{"step": 2, "loss": 1.5}\n{"step": 4, "validation": {}}\n'
    (tmp_path / "log.jsonl").write_text(kept + '{"step": 6, "loss": 1.0}\n[1]\n{"step": 4, "lo')
    RunLog(tmp_path).forget_after(4)
    assert (tmp_path / "log.jsonl").read_text() == kept


def saved(path, config=None, files=FILES, processes=1):
    config = config or make_config()
    save_checkpoint(path, new_state(config, CPU), run_identity(config, files, processes))


def loaded(path, config=None, files=FILES, processes=1):
    config = config or make_config()
    load_checkpoint(path, new_state(config, CPU), run_identity(config, files, processes), CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": make_config(learning_rate=0.5)}, r"learning_rate: 0.0012 then, 0.5 now"),
        ({"config": make_config(network=NetworkConfig(tokens=8))}, r"network.tokens: 16 then, 8 now"),
        ({"config": make_config(max_steps=7, seed=3)}, r"max_steps: 6 then, 7 now; seed: 0 then, 3 now"),
        ({"files": {(128, 96): FILES[(128, 96)][:1]}}, r"training images \(2 with digest \w+ then, 1 with"),
        ({"files": {(128, 96): FILES[(128, 96)][::-1]}}, "training images"),
        ({"processes": 2}, r"number of processes \(1 then, 2 now\)"),
    ],
)
def test_another_run_is_refused_by_what_differs(tmp_path, changes, message):
    saved(tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match=message) as caught:
        loaded(tmp_path / CHECKPOINT, **changes)
    assert "\n" not in str(caught.value)


def test_settings_that_change_nothing_learned_may_differ(tmp_path):
    saved(tmp_path / CHECKPOINT)
    loaded(tmp_path / CHECKPOINT, make_config(workers=1, log_steps=5, validation_images=3, checkpoint_minutes=9))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint_is_named_in_one_line(tmp_path, share):
    path = tmp_path / CHECKPOINT
    saved(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"checkpoint.pt: damaged.*start a new run") as caught:
        loaded(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_version_of_the_network_is_refused(tmp_path):
    saved(tmp_path / CHECKPOINT)
    content = checkpoint_of(tmp_path)
    content["network"].popitem()
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match="another than this version's"):
        loaded(tmp_path / CHECKPOINT)


def test_a_checkpoint_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written.*free"):
        saved(tmp_path / "missing" / CHECKPOINT)


def test_a_folder_with_a_run_is_not_overwritten_and_resume_needs_one(data, straight, tmp_path):
    before = (straight / CHECKPOINT).read_bytes()
    with pytest.raises(InputError, match="already holds a run; pass --resume"):
        train([data], straight, make_config())
    assert (straight / CHECKPOINT).read_bytes() == before
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        train([data], tmp_path, make_config(), resume=True)


def test_a_finished_run_that_is_resumed_writes_the_same_weights(data, straight):
    before = load_weights(straight / loop.WEIGHTS)[0].state_dict()
    again = load_weights(train([data], straight, make_config(), resume=True))
    assert same(before, again[0].state_dict())
    assert again[1]["steps"] == "6"
    assert again[0].config == SMALL
