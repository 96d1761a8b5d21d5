"""Training under torchrun: two processes take the same steps, end together and speak with one voice."""

import copy
import json

import pytest
import torch
from test_training_data import write_sequences
from training_runs import CPU, make_config, read_log, run, write_config

from amodal_perception_ros.network import load_weights
from amodal_perception_ros.training.dataset import BatchSource, prepare_cache, split_sequences
from amodal_perception_ros.training.state import new_state
from amodal_perception_ros.training.train import CHECKPOINT, LossModule, learning_rate, update_average


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_sequences(tmp_path_factory.mktemp("data"), ["a", "b"], frames=2)


def arguments(data, folder, **changes):
    config = write_config(folder / "train.yaml", **changes)
    return ("train", "--data", data, "--out", folder / "run", "--config", config)


def mean_gradient_steps(data, cache, config, steps):
    """The same training written out in one process: both batches of a step, then the mean of their gradients."""
    files = prepare_cache(split_sequences([data], [], 1).train, cache, [config.input_size], 1)[config.input_size]
    probability, strength = config.forced_seed_probability, config.augmentation
    source = BatchSource(files, config.batch_size, 4, config.seed, probability, strength, config.cells)
    torch.manual_seed(config.seed)
    state = new_state(config, CPU)
    for step in range(steps):
        networks = [state.network, copy.deepcopy(state.network)]
        for number, network in enumerate(networks):
            batch = source[2 * step + number]
            losses = LossModule(network, config)(batch.image, batch.guidance, batch.targets)
            network.zero_grad()
            sum(losses.values()).backward()
        for own, other in zip(state.network.parameters(), networks[1].parameters()):
            own.grad = (own.grad + other.grad) / 2
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.clip_norm)
        for group in state.optimizer.param_groups:
            group["lr"] = group["scale"] * learning_rate(step / steps, config)
        state.optimizer.step()
        state.step += 1
        update_average(state, config)
    return state


def test_two_processes_train_as_one_with_the_mean_of_their_gradients(data, tmp_path):
    code, output, errors = run(*arguments(data, tmp_path, max_steps=2, log_steps=1), processes=2)
    assert code == 0, errors
    assert output.count("wrote ") == output.count("device: cpu") == 1, "one process speaks"
    out = tmp_path / "run"
    assert {path.name for path in out.iterdir()} == {
        "cache", "checkpoint.pt", "config.json", "log.jsonl", "pictures", "weights.safetensors"
    }  # fmt: skip
    log = read_log(out)
    assert [entry["step"] for entry in log] == [1, 2, 2]
    assert all(torch.isfinite(torch.tensor(entry["loss"])) for entry in log if "loss" in entry)
    assert [entry["images"] for entry in log if "images" in entry] == [8, 8], "of both processes"
    assert load_weights(out / "weights.safetensors")[1]["processes"] == "2"
    content = torch.load(out / CHECKPOINT, weights_only=True)
    assert json.loads(content["identity"]["processes"]) == 2
    expected = mean_gradient_steps(data, out / "cache", make_config(max_steps=2), 2)
    ours = expected.optimizer.state_dict()["state"]
    assert ours.keys() == content["optimizer"]["state"].keys()
    for number, state in content["optimizer"]["state"].items():
        difference = (state["exp_avg"] - ours[number]["exp_avg"]).norm()
        assert difference <= 1e-3 * ours[number]["exp_avg"].norm() + 1e-6, "mean of the gradients of both steps"


def test_an_input_error_in_one_process_ends_all_with_one_line(data, tmp_path):
    given = arguments(data, tmp_path, max_steps=400, augment=False, batch_size=1)
    readers = split_sequences([data], [], 1)
    cache = tmp_path / "run" / "cache"
    files = prepare_cache([*readers.train, *readers.validation], cache, [(128, 96)], 1)[(128, 96)]
    files[1].write_bytes(b"damaged")
    code, _, errors = run(*given, processes=2)
    assert code != 0
    said = [line for line in errors.splitlines() if line.startswith("amodal: ")]
    assert len(said) == 1, errors
    assert f"{files[1].name}: damaged" in said[0]
    assert "exitcode  : 2" in errors
    assert "Error" not in errors.split("amodal: ")[0], "no traceback of ours"


def test_what_all_processes_refuse_is_said_once(data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"of another run")
    code, _, errors = run(*arguments(data, tmp_path), processes=2)
    assert code != 0
    assert [line for line in errors.splitlines() if line.startswith("amodal: ")] == [
        f"amodal: {tmp_path / 'run'} already holds a run; pass --resume to go on, or choose another folder"
    ]
    assert "exitcode  : 2" in errors
