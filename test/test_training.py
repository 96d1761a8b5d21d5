"""The training loop: schedule, budget, exact resume, averages, learning, and errors."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from test_training_data import write_sequences
from training_runs import CPU, SMALL, make_config, read_log, same

from amodal_perception_ros.errors import InputError, RunError
from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, load_weights, save_weights
from amodal_perception_ros.training import train as loop
from amodal_perception_ros.training.config import TrainConfig, load_config
from amodal_perception_ros.training.loading import deaths_named
from amodal_perception_ros.training.processes import choose_device, joined
from amodal_perception_ros.training.records import ImageRecord
from amodal_perception_ros.training.state import new_state
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


def test_a_run_starts_from_weights_of_its_own_shape(data, tmp_path):
    torch.manual_seed(5)
    save_weights(tmp_path / "start.safetensors", AmodalNetwork(SMALL), {"model_id": "start"})
    given = load_weights(tmp_path / "start.safetensors")[0].state_dict()
    state = new_state(make_config(init=str(tmp_path / "start.safetensors")), CPU)
    assert same(given, state.network.state_dict())
    assert same(given, state.average.state_dict())
    path = train([data], tmp_path / "run", make_config(init=str(tmp_path / "start.safetensors"), max_steps=1))
    assert json.loads(load_weights(path)[1]["training_config"])["init"] == "start.safetensors", "without the folder"


def test_weights_of_another_shape_are_taken_where_they_fit(tmp_path):
    path = tmp_path / "start.safetensors"
    save_weights(path, AmodalNetwork(SMALL), {"model_id": "start"})
    given, wider = load_weights(path)[0].state_dict(), replace(SMALL, widths=(12, 16, 24, 48))
    state = new_state(make_config(init=str(path), network=wider), CPU).network.state_dict()
    fitting = [name for name, value in state.items() if given[name].shape == value.shape]
    assert 0 < len(fitting) < len(state)
    assert all(torch.equal(state[name], given[name]) for name in fitting)
    with pytest.raises(InputError, match="no such weights file"):
        new_state(make_config(init=str(tmp_path / "absent.safetensors")), CPU)


def test_pictures_show_truth_beside_prediction(data, tmp_path):
    train([data], tmp_path / "run", make_config(max_steps=1))
    (path,) = (tmp_path / "run" / "pictures").iterdir()
    assert path.name == "step_000001.png"
    picture = cv2.imread(str(path))
    assert picture.shape == (4 * 96, 2 * 128, 3), "the four validation images, truth and prediction"
    files = sorted((tmp_path / "run" / "cache" / "128x96").glob("b-*/*.npz"))
    record = ImageRecord.load(files[0])
    plain = ~cv2.dilate(record.amodal.max(0), np.ones((5, 5))).astype(bool).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(picture[:96, :128][plain], record.image[..., ::-1][plain])
    assert (picture[:96, :128] != record.image[..., ::-1]).any(), "the objects are drawn"


def test_validation_judges_all_cells(data, tmp_path):
    config = make_config()
    split = loop.split_sequences([data], [], 1)
    with joined("cpu") as processes:
        files, held = loop.prepare(split, tmp_path, config, processes)
    assert (len(files[config.input_size]), len(held.files)) == (4, 4)
    targets = held[0].targets
    everything = torch.arange(targets.log_depth[0].numel())
    assert torch.equal(targets.cells, everything.expand(4, -1))
    assert targets.visible.shape[2] == len(everything)


def test_precision_follows_the_setting_and_the_device():
    assert loop.half_precision("bfloat16", CPU)
    assert not loop.half_precision("float32", torch.device("cuda"))
    assert loop.half_precision("auto", torch.device("cuda"))


def test_half_precision_trains_the_same_float32_weights(data, tmp_path):
    path = train([data], tmp_path / "run", make_config(max_steps=2, precision="bfloat16"))
    content = torch.load(tmp_path / "run" / loop.CHECKPOINT, weights_only=True)
    assert {value.dtype for value in content["network"].values()} == {torch.float32, torch.int64}
    single = train([data], tmp_path / "single", make_config(max_steps=2))
    losses = [
        [entry["loss"] for entry in read_log(folder) if "loss" in entry] for folder in (path.parent, single.parent)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_record_is_one_line_wherever_it_is_loaded(data, tmp_path, workers):
    train([data], tmp_path / "first", make_config(max_steps=1))
    cache = tmp_path / "first" / "cache"
    damaged = sorted(cache.glob("*/a-*/*.npz"))[0]
    damaged.write_bytes(b"damaged")
    with pytest.raises(InputError, match=f"{damaged.name}: damaged cache file, delete it") as caught:
        train([data], tmp_path / "second", make_config(workers=workers, cache=str(cache)))
    assert "\n" not in str(caught.value)


# In a process of its own: PyTorch tells of the death again whenever another child ends, as long as the loader is there.
DEATH = """
import multiprocessing, os, signal, sys
from pathlib import Path
import torch
from amodal_perception_ros.errors import RunError
from amodal_perception_ros.training.dataset import BatchSource
from amodal_perception_ros.training.loading import deaths_named, load_batches

source = BatchSource([Path(path) for path in sys.argv[1:]], 4, 4, 0)
batches = load_batches(source, range(10**6), 1, torch.device("cpu"))
next(batches)
try:
    with deaths_named():
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        for _ in batches:
            pass
except RunError as error:
    print(error, flush=True)
    os._exit(0)
"""


def test_the_death_of_a_loading_process_is_told(data, tmp_path):
    train([data], tmp_path / "first", make_config(max_steps=1))
    files = sorted((tmp_path / "first" / "cache").glob("*/a-*/*.npz"))
    run = subprocess.run([sys.executable, "-c", DEATH, *map(str, files)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert "memory ran out; go on with --resume" in run.stdout
    with pytest.raises(RuntimeError, match="something else"), deaths_named():
        raise RuntimeError("something else")


def test_the_run_says_what_it_does(data, tmp_path, capsys):
    out = tmp_path / "run"
    train([data], out, make_config(max_steps=3, log_steps=1))
    said = capsys.readouterr().out
    parameters = sum(p.numel() for p in AmodalNetwork(SMALL).parameters()) / 1e6
    for expected in (
        "training on 4 images of 1 sequences, validating on 4 images of 1",
        f"network: {parameters:.2f} million parameters, instance head fields, from scratch",
        "device: cpu with 1 threads, float32, 1 x 4 images a step",
        "budget: 3 steps",
        "[ 33.3%] step 1, 0:0",
        "step 3, 0:00:00 left",
        f"wrote {out / 'weights.safetensors'}, log: {out / 'log.jsonl'}, example pictures: {out / 'pictures'}",
    ):
        assert expected in said


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
        ("learning_rate: 1e-3", "must be a number, got '1e-3' .YAML"),
        ("batch_size: 2.5", "batch_size must be a whole number"),
        ("workers: -1", "workers must be at least 0"),
        ("max_steps: true", "max_steps must be a whole number"),
        ("warmup: 2", r"warmup must be in 0\.\.1"),
        ("device: gpu", "auto, cpu, cuda or cuda:N, got 'gpu'"),
        ("precision: half", "float32, bfloat16, got 'half'"),
        ("validation: data/val", "list of folders"),
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
