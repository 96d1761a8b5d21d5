"""The training loop: schedule, budget, exact resume, averages, learning, and errors."""

import json
import math

import pytest
import torch
from test_training_data import write_sequences
from training_runs import CPU, SMALL, make_config, read_log

from amodal_perception_ros.errors import InputError, RunError
from amodal_perception_ros.network import NetworkConfig, load_weights, save_weights
from amodal_perception_ros.training import train as loop
from amodal_perception_ros.training.config import TrainConfig, load_config
from amodal_perception_ros.training.processes import choose_device
from amodal_perception_ros.training.state import new_state, start_from
from amodal_perception_ros.training.train import learning_rate, progress, train
from amodal_perception_ros.training.validate import validate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_sequences(tmp_path_factory.mktemp("data"), ["a", "b"], frames=2)


def test_overfitting_lowers_the_loss_strongly_and_finds_the_objects(data, tmp_path):
    config = make_config(max_steps=150, augment=False, ema_decay=0.9, holdout_sequences=0, learning_rate=4e-3)
    out = tmp_path / "run"
    weights = train([data], out, config)
    losses = [entry["loss"] for entry in read_log(out) if "loss" in entry]
    assert losses[-1] < 0.25 * losses[0]
    split = loop.split_sequences([data], [], 0)
    files = loop.prepare_cache(split.train, out / "cache", [config.input_size], 1)[config.input_size]
    scores = validate(load_weights(weights)[0], loop.BatchSource(files, 4, 4), CPU)
    assert scores["recall"] > 0.6
    assert scores["stuff"] > 0.9
    assert scores["object_depth"] < 0.3
    assert 0 < scores["object_depth_stddev"] < 0.5
    assert "amodal_depth_relative_stddev" not in load_weights(weights)[1], "nothing was held out to measure it on"
    assert loop.calibration(scores) == {"amodal_depth_relative_stddev": f"{scores['object_depth_stddev']:.4f}"}


def test_the_run_leaves_weights_log_and_settings(data, tmp_path):
    out = tmp_path / "model-7"
    path = train([data], out, make_config(early_size=(64, 64), early_fraction=0.5))
    network, metadata = load_weights(path)
    assert network.config == SMALL
    assert metadata["model_id"] == "model-7"
    assert json.loads(metadata["training_sequences"]) == ["a"]
    assert json.loads(metadata["validation_sequences"]) == ["b"]
    assert str(tmp_path) not in json.dumps(metadata), "no path of the machine in shipped weights"
    log = read_log(out)
    assert [entry["step"] for entry in log if "loss" in entry] == [2, 4, 6]
    assert {"loss/heat", "loss/visible", "loss/order"} <= set(log[0])
    assert 0 <= log[-1]["validation"]["recall"] <= 1
    assert sorted(p.name for p in (out / "cache").iterdir()) == ["128x96", "64x64"]


def test_composited_copies_are_trained_on_besides_the_sequences(data, tmp_path):
    train([data], tmp_path / "run", make_config(clip_art=2))
    folders = sorted(path.name.rsplit("-", 2)[0] for path in (tmp_path / "run" / "cache" / "128x96").iterdir())
    assert folders == ["a", "a_clip0", "a_clip1", "b"]


def test_the_early_size_is_used_first(data, tmp_path):
    sizes = []
    with pytest.MonkeyPatch.context() as patch:
        run_step = loop.train_step

        def watch(state, losses, batch, *rest):
            sizes.append(tuple(batch.image.shape[2:]))
            return run_step(state, losses, batch, *rest)

        patch.setattr(loop, "train_step", watch)
        train([data], tmp_path / "run", make_config(early_size=(64, 64), early_fraction=0.5))
    assert sizes == [(64, 64)] * 3 + [(96, 128)] * 3


def test_a_run_stops_at_its_wall_clock_budget(data, tmp_path):
    train([data], tmp_path / "run", make_config(max_steps=None, max_minutes=0.02, holdout_sequences=0))
    last = [entry for entry in read_log(tmp_path / "run") if "progress" in entry][-1]
    assert last["step"] >= 2
    content = torch.load(tmp_path / "run" / loop.CHECKPOINT, weights_only=True)
    assert content["elapsed_s"] >= 1.2


def test_learning_rate_rises_then_falls_to_almost_nothing():
    config = make_config(learning_rate=1.0, warmup=0.1)
    assert learning_rate(0.05, config) == pytest.approx(0.5)
    assert learning_rate(0.1, config) == pytest.approx(1.0)
    assert learning_rate(0.55, config) == pytest.approx(0.5005)
    assert learning_rate(1.0, config) == pytest.approx(0.001)


def test_progress_follows_the_budget_that_ends_first():
    state = new_state(make_config(), CPU)
    state.step, state.elapsed_s = 3, 45.0
    assert progress(state, make_config()) == 0.5
    assert progress(state, make_config(max_steps=None, max_minutes=1.0)) == 0.75
    assert progress(state, make_config(max_minutes=1.0)) == 0.75
    state.elapsed_s = 600.0
    assert progress(state, make_config(max_minutes=1.0)) == 1.0


def test_average_weights_follow_with_the_decay():
    config = make_config(ema_decay=0.75)
    state = new_state(config, CPU)
    state.step = 1000
    with torch.no_grad():
        for parameter in state.network.parameters():
            parameter.fill_(4.0)
        for parameter in state.average.parameters():
            parameter.fill_(0.0)
    loop.update_average(state, config)
    assert all(torch.equal(p, torch.ones_like(p)) for p in state.average.parameters())


def test_a_step_with_infinite_gradients_changes_nothing_and_many_stop_the_run(data, tmp_path):
    config = make_config()
    split = loop.split_sequences([data], [], 0)
    files = loop.prepare_cache(split.train, tmp_path / "cache", [config.input_size], 1)[config.input_size]
    batch = loop.BatchSource(files, 4, 4, seed=0)[0]
    state = new_state(config, CPU)
    before = {name: value.clone() for name, value in state.average.state_dict().items()}
    bad = batch._replace(image=torch.full_like(batch.image, math.inf))
    losses = loop.LossModule(state.network, config)
    assert loop.train_step(state, losses, bad, config, CPU) is None
    assert (state.step, state.bad_steps) == (1, 1)
    assert all(torch.equal(value, before[name]) for name, value in state.average.state_dict().items())
    for _ in range(loop.MAX_BAD_STEPS - 2):
        loop.train_step(state, losses, bad, config, CPU)
    with pytest.raises(RunError, match="diverged"):
        loop.train_step(state, losses, bad, config, CPU)


def test_an_absent_gpu_is_named():
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(InputError, match=f"'{absent}' is not there"):
        choose_device(absent)


def test_settings_from_yaml(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(
        "network: {widths: [8, 16, 24, 32], tokens: 20}\nloss: {order: 2.5}\nearly_size: [64, 32]\nmax_minutes: 5\n"
    )
    config = load_config(path)
    assert config.network == NetworkConfig(widths=(8, 16, 24, 32), tokens=20)
    assert config.loss.order == 2.5
    assert config.sizes() == [(64, 32), (512, 288)]
    assert load_config(None) == TrainConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batches: 3", "unknown settings"),
        ("loss: {mask: 3}", "LossWeights"),
        ("network: {depth: 3}", "unknown network"),
        ("network: {tokens: -1}", "tokens"),
        ("input_size: [500, 288]", "multiples of 32"),
        ("batch_size: 0", "batch_size"),
        ("augmentation: {lidar_dropout: 1.5}", "lidar_dropout"),
        ("augmentation: {zoom_limit: 0.5}", "zoom_limit"),
        ("max_minutes: null", "budget"),
        ("- 1", "mapping"),
        ("{", "cannot read"),
    ],
)
def test_bad_settings_are_named(tmp_path, text, message):
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_config(path)
    assert "train.yaml" in str(caught.value)
