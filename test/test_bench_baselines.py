"""The benches that compare trainings: equal conditions, nothing done twice, exact tables."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from test_training_data import write_sequences
from training_toy import toy_sample

from amodal_perception_ros.datasets.composites import CompositedSequence, Donors
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, load_weights, save_weights
from amodal_perception_ros.network import network as network_module
from amodal_perception_ros.network.heads import TokenHead
from amodal_perception_ros.network.instance_heads import INSTANCE_HEADS
from amodal_perception_ros.network.instance_heads.head import in_box
from amodal_perception_ros.network.targets import LossWeights
from amodal_perception_ros.perception.calibration import Calibration
from amodal_perception_ros.training import dataset
from amodal_perception_ros.training import train as loop
from amodal_perception_ros.training.config import load_config
from amodal_perception_ros.training.records import ImageRecord, make_records

BENCH = Path(__file__).resolve().parents[1] / "bench"
sys.path.insert(0, str(BENCH))

import baselines  # noqa: E402
from experiments.changes import Changes, RelationLayer, applied  # noqa: E402
from experiments.cost import Cost, gflop, measure_costs, perceive_first, random_batch  # noqa: E402
from experiments.plan import Plan, read_experiments  # noqa: E402
from experiments.running import Trainer, shared_tensors  # noqa: E402
from experiments.scoring import NetworkRun, calibrate  # noqa: E402
from experiments.tables import condition_table, difference_table, main_table, margins, summary  # noqa: E402

torch.set_num_threads(1)
SMALL = {"stem_channels": 8, "widths": [12, 16, 24, 32], "depths": [1, 1, 1, 1], "channels": 24, "tokens": 16}
COMMON = {
    "network": SMALL,
    "input_size": [128, 96],
    "batch_size": 4,
    "max_minutes": None,
    "max_steps": 2,
    "holdout_sequences": 2,
    "workers": 0,
    "prepare_workers": 1,
    "device": "cpu",
    "field_tokens": 8,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    write_sequences(root / "train", ["a", "b", "c", "d"], frames=1)
    write_sequences(root / "val", ["v"], frames=1)
    (root / "common.yaml").write_text(yaml.safe_dump(COMMON))
    return root


def options(root, *more):
    given = ["--data", root / "train", "--validation", root / "val", "--config", root / "common.yaml", "--workers", "1"]
    return [str(option) for option in [*given, "--cache", root / "cache", *more]]


def plan_of(root, out, only, **changes):
    settings = {**COMMON, "cache": str(root / "cache"), **changes.pop("settings", {})}
    experiments = read_experiments(BENCH / "experiments" / changes.pop("file", "baselines.yaml"), only)
    return Plan(experiments, (root / "train",), (root / "val",), out, settings, **changes)


def test_methods_are_trained_scored_and_tabulated_once(folders, tmp_path, capsys):
    arguments = options(folders, "--out", tmp_path, "--only", "visible", "--seeds", "0", "1", "--repeats", "1")
    baselines.main(arguments)
    assert "4 of 4 done" in capsys.readouterr().out
    result = json.loads((tmp_path / "baselines.json").read_text())
    assert list(result["experiments"]) == ["visible", "fields"], "the reference comes along"
    assert result["images"] == 2
    for name, row in result["experiments"].items():
        network, metadata = load_weights(tmp_path / name / "seed1" / "weights.safetensors")
        assert (metadata["steps"], metadata["model_id"]) == ("2", f"{name}-seed1")
        assert network.config.instance_head == name
        assert row["cost"]["parameters"] == sum(value.numel() for value in network.parameters())
        assert len(row["figures"]["APQ"]["seeds"]) == 2
        assert row["figures"]["RMSE_vis [m]"]["mean"] > 0
    assert result["experiments"]["fields"]["cost"]["latency"] == 1
    assert result["experiments"]["visible"]["cost"]["latency"] > 0
    for ending in (".txt", ".md"):
        text = (tmp_path / f"baselines{ending}").read_text()
        assert all(word in text for word in ("visible", "naive", "RMSE_hidden [m]", "± ", "latency"))
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix in (".safetensors", ".pt")}
    scored = sorted(tmp_path.rglob("scores-*.json"))
    baselines.main(arguments)
    assert "scoring" not in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == then for path, then in made.items())
    assert sorted(tmp_path.rglob("scores-*.json")) == scored
    again = json.loads((tmp_path / "baselines.json").read_text())["experiments"]
    assert all(again[name]["figures"] == result["experiments"][name]["figures"] for name in again)


def test_an_interrupted_training_goes_on_to_the_same_weights(folders, tmp_path):
    settings = {"max_steps": 3, "checkpoint_minutes": 0.0}
    straight = plan_of(folders, tmp_path / "straight", ["fields"], settings=settings)
    first = Trainer(straight).weights(straight.experiments["fields"], 0)
    halves = plan_of(folders, tmp_path / "halves", ["fields"], settings=settings)
    run_step = loop.train_step

    def interrupted(state, *rest):
        if state.step == 2:
            raise KeyboardInterrupt
        return run_step(state, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Trainer(halves).weights(halves.experiments["fields"], 0)
    assert not (tmp_path / "halves" / "fields" / "seed0" / loop.WEIGHTS).exists()
    second = Trainer(halves).weights(halves.experiments["fields"], 0)
    one, other = (load_weights(path)[0].state_dict() for path in (first, second))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_folder_of_other_settings_is_refused(folders, tmp_path):
    plan = plan_of(folders, tmp_path, ["fields"])
    Trainer(plan).weights(plan.experiments["fields"], 0)
    longer = replace(plan, settings={**plan.settings, "max_steps": 5})
    with pytest.raises(InputError, match=r"fields/seed0: holds a run of other settings; choose another --out"):
        Trainer(longer).weights(plan.experiments["fields"], 0)
    faster = replace(plan, settings={**plan.settings, "log_steps": 1})
    assert Trainer(faster).weights(plan.experiments["fields"], 0).is_file(), "logging changes no weights"


def test_all_methods_start_from_the_same_weights_but_for_their_heads(folders, tmp_path):
    given = tmp_path / "given.safetensors"
    torch.manual_seed(5)
    save_weights(
        given, AmodalNetwork(NetworkConfig.from_dict({**SMALL, "instance_head": "visible"})), {"model_id": "s"}
    )
    plan = plan_of(folders, tmp_path / "out", ["visible", "fields"], start=given, settings={"learning_rate": 1e-9})
    trainer, shared = Trainer(plan), shared_tensors(given)
    assert not any(name.startswith("instances.") for name in shared)
    assert {name.partition(".")[0] for name in shared} == {"trunk", "dense", "tokens"}
    for name in ("visible", "fields"):
        trained = load_weights(trainer.weights(plan.experiments[name], 0))[0].state_dict()
        learned = {key: trained[key] for key in shared if "running" not in key and "num_batches" not in key}
        assert all(torch.allclose(value, shared[key], rtol=2e-3, atol=1e-6) for key, value in learned.items())
    own = load_weights(given)[0].instances.state_dict()
    head = load_weights(plan.folder(plan.experiments["visible"], 0) / loop.WEIGHTS)[0].instances.state_dict()
    assert not all(torch.allclose(head[key], value, rtol=2e-3, atol=1e-6) for key, value in own.items())
    wide = replace(plan, out=tmp_path / "wide", settings={**plan.settings, "network": {**SMALL, "channels": 28}})
    with pytest.raises(InputError, match="tensors of the start do not fit"):
        Trainer(wide).weights(wide.experiments["fields"], 0)


def test_training_and_validation_data_are_apart(folders, tmp_path):
    plan = replace(plan_of(folders, tmp_path, ["fields"]), validation=(folders / "train",))
    with pytest.raises(InputError, match="training and in the validation data"):
        Trainer(plan)


# Changes of the package's code ---------------------------------------------------------------------------------------


def test_relation_layers_start_as_nothing_and_then_relate_tokens():
    config = NetworkConfig.from_dict(SMALL)
    torch.manual_seed(0)
    plain = AmodalNetwork(config).eval()
    with applied(Changes(relation_layers=2)):
        related = AmodalNetwork(config).eval()
    assert network_module.TokenHead is TokenHead, "the change ends with the block"
    missing, unexpected = related.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all("norm.relations" in name for name in missing)
    batch = random_batch(128, 96)
    image, guidance = torch.from_numpy(batch.image), torch.from_numpy(batch.guidance)
    with torch.no_grad():
        assert torch.equal(plain(image, guidance).class_logits, related(image, guidance).class_logits)
    layer = RelationLayer(24)
    torch.nn.init.normal_(layer.output.weight)
    tokens, order = torch.randn(2, 5, 24), torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(layer(tokens)[:, order], layer(tokens[:, order]), atol=1e-5)
    changed = tokens.clone()
    changed[:, 4] = torch.randn(24)
    assert not torch.allclose(layer(tokens)[:, 0], layer(changed)[:, 0])


def test_uniform_cells_favour_no_object():
    record = next(iter(make_records(toy_sample(1), (128, 96)).values()))
    near = in_box(torch.from_numpy(record.boxes), torch.arange(record.log_depth.size)[None], record.log_depth.shape)
    near = near.amax(0).numpy() > 0
    for uniform in (True, False):
        with applied(Changes(uniform_cells=uniform)):
            taken = [dataset.sample_cells(record, np.random.default_rng(k), 300) for k in range(20)]
        share = np.mean([near[cells].mean() for cells in taken])
        assert (abs(share - near.mean()) < 0.03) == uniform


def test_paired_batches_hold_each_composite_beside_its_original(folders, tmp_path):
    sequences = dataset.split_sequences([folders / "train"], [], 2).train
    copies = [CompositedSequence(reader, Donors(sequences), 0) for reader in sequences]
    files = dataset.prepare_cache([*sequences, *copies], tmp_path, [(128, 96)], 1)[(128, 96)]
    with applied(Changes(paired=True)):
        batches = loop.BatchSource(files, 4, 4, seed=3)
        in_order = loop.BatchSource(files, 4, 4)
    pictures = [torch.from_numpy(ImageRecord.load(path).image).permute(2, 0, 1) / 255 for path in files]
    assert torch.equal(in_order[0].image, torch.stack(pictures[:4])), "validation stays in order"
    assert any(not torch.equal(pictures[k], pictures[k + 4]) for k in range(4)), "something was pasted"
    for step in range(4):
        pairs = batches[step].image.unflatten(0, (2, 2))
        assert all(any(torch.equal(pair, torch.stack(pictures[k::4])) for k in range(4)) for pair in pairs)
    firsts = torch.cat([batches[step].image[::2] for step in range(2)])
    assert all((firsts == picture).flatten(1).all(1).any() for picture in pictures[:4]), "two steps are an epoch"
    with applied(Changes(paired=True)), pytest.raises(InputError, match="clip_art: 1"):
        loop.BatchSource(files[:4], 4, 4, seed=3)[0]


def test_lidar_can_be_kept_from_the_network(tmp_path):
    torch.manual_seed(0)
    network = AmodalNetwork(NetworkConfig.from_dict(SMALL))
    torch.nn.init.normal_(network.trunk.guidance.write.weight)
    save_weights(tmp_path / "w.safetensors", network, {"model_id": "lidar"})
    sample = toy_sample(1)
    blind = replace(sample, frame=replace(sample.frame, lidar=None))
    runs = {lidar: NetworkRun(tmp_path / "w.safetensors", (128, 96), lidar).open([]) for lidar in (True, False)}
    seen, dropped, without = (
        run.read(given).cameras["front"].depth
        for run, given in ((runs[True], sample), (runs[False], sample), (runs[True], blind))
    )
    np.testing.assert_array_equal(dropped, without)
    assert not np.array_equal(seen, dropped)


@pytest.mark.parametrize("ignore", [False, True])
def test_quality_can_be_kept_out_of_the_score(folders, tmp_path, ignore):
    plan = plan_of(folders, tmp_path, ["fields"])
    network = AmodalNetwork(NetworkConfig.from_dict(SMALL))
    with torch.no_grad():  # Every token is a car that fills the image, and knows that its mask is bad.
        network.tokens.classes.bias[2] += 9
        network.instances.generate[-1].bias[-3:-1] += 99
        network.tokens.quality[-1].bias -= 3
    metadata = {"model_id": "cars", "validation_sequences": json.dumps(["a", "b"])}
    save_weights(tmp_path / "w.safetensors", network, metadata)
    experiment = replace(plan.experiments["fields"], changes=Changes(ignore_quality=ignore))
    path = calibrate(tmp_path / "w.safetensors", experiment, (128, 96), plan)
    calibration = Calibration.from_metadata(load_weights(path)[1])
    assert calibration.score[2] < 0, "false positives were observed"
    assert (calibration.score[1] == 0) == ignore


# Plans, costs and tables ---------------------------------------------------------------------------------------------


def test_experiments_are_valid_trainings_and_cover_all_heads(folders, tmp_path):
    found = {}
    for file in ("baselines.yaml", "ablations.yaml"):
        plan = plan_of(folders, tmp_path, None, file=file)
        for experiment in plan.experiments.values():
            path = tmp_path / "settings.yaml"
            path.write_text(yaml.safe_dump(plan.settings_of(experiment, 7)))
            config = load_config(path)
            assert (config.seed, config.batch_size, config.network.channels) == (7, 4, 24)
            found[experiment.name] = config
    assert {found[name].network.instance_head for name in found} == set(INSTANCE_HEADS)
    assert found["no_quality"].loss == LossWeights(quality=0)
    assert plan.experiments["no_quality"].changes.ignore_quality
    assert found["clip_art"].clip_art == 1
    assert load_config(BENCH / "experiments" / "start.yaml").network.instance_head == "visible"
    assert load_config(BENCH / "experiments" / "common.yaml").max_minutes is None


@pytest.mark.parametrize(
    ("content", "chosen", "message"),
    [
        ("a: {about: x}", ["b"], r"unknown experiments \['b'\]; e.yaml has a"),
        ("a: {about: x, steps: 3}", None, "'a' must be a mapping with 'about'"),
        ("a: {about: x, changes: {layers: 3}}", None, "changes are .*relation_layers"),
        ("a: {about: x, weights_of: b}", None, "takes the weights of 'b'"),
        ("[1]", None, "must be a mapping"),
    ],
)
def test_wrong_experiments_are_refused(tmp_path, content, chosen, message):
    (tmp_path / "e.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        read_experiments(tmp_path / "e.yaml", chosen)


def test_budgets_must_be_equal(folders, tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**COMMON, "max_minutes": 5}))
    with pytest.raises(SystemExit, match="equal budgets"):
        baselines.main(options(folders, "--out", tmp_path / "out", "--config", tmp_path / "c.yaml"))


def test_operations_are_counted():
    layer, image = torch.nn.Conv2d(3, 5, 1), torch.from_numpy(random_batch(64, 32).image[:1])
    assert gflop(lambda: layer(image)) == 2 * 3 * 5 * 64 * 32 / 1e9


def test_drawing_the_objects_belongs_to_the_operations():
    network, batch = AmodalNetwork(NetworkConfig.from_dict(SMALL)).eval(), random_batch(64, 32)
    image, guidance = torch.from_numpy(batch.image[:1]), torch.from_numpy(batch.guidance[:1])
    without = gflop(lambda: network(image, guidance))
    # No window is larger than the grid of 16 x 32 cells, in which each of at most 25 MLPs has two layers.
    config = network.config
    most = 25 * 2 * config.field_hidden * (config.mask_channels + 3) * 16 * 32 / 1e9
    assert without < gflop(lambda: perceive_first(network, batch)) < without + most


def test_costs_without_repeats_have_no_time(folders, tmp_path):
    plan = plan_of(folders, tmp_path, ["fields_lidar_dropped"])
    costs = measure_costs(plan, "fields", 0)
    assert list(costs) == ["fields"]
    assert costs["fields"].latency is None
    assert costs["fields"].gflop > 0


def figures(quality, hidden, weather=None):
    found = {"panoptic": {"strict": {"APQ": quality}}, "depth": {"RMSE_hidden": hidden}}
    return {**found, **({"per_condition": {"weather": weather}} if weather else {})}


SCORES = {
    "ours": {0: figures(40.0, 2.0), 1: figures(44.0, 4.0)},
    "visible": {0: figures(39.0, 5.0), 1: figures(40.0, 5.0)},
    "layers": {0: figures(30.0, 4.0), 1: figures(32.0, 4.0)},
}


def row_of(table, name):
    (row,) = (row for row in table.rows if row[0] == name)
    return dict(zip(table.heads, row))


def test_tables_hold_mean_and_spread_over_seeds():
    assert summary([1.0, 3.0]) == {"mean": 2.0, "spread": math.sqrt(2), "seeds": [1.0, 3.0]}
    assert summary([5.0])["spread"] is None
    table = main_table(SCORES, {"ours": Cost(1_230_000, 4.567, 20.0, 1.0)}, "ours")
    ours = row_of(table, "ours")
    assert (ours["APQ"], ours["RMSE_hidden [m]"], ours["AP_A"]) == ("42.0 ± 2.8", "3.00 ± 1.41", "–")
    assert (ours["M parameters"], ours["GFLOP"], ours["latency"]) == ("1.23", "4.57", "1.00")
    assert row_of(table, "layers")["latency"] == "–"
    assert table.markdown().splitlines()[2].startswith("| method | APQ | ")
    assert len({line.index("42.0") for line in table.text().splitlines() if "42.0" in line}) == 1


def test_differences_are_between_equal_seeds():
    row = row_of(difference_table(SCORES, "ours"), "visible")
    assert row["APQ"] == "-2.5 ± 2.1", "39 - 40 = -1 and 40 - 44 = -4"
    assert row["RMSE_hidden [m]"] == "+2.00 ± 1.41", "5 - 2 = 3 and 5 - 4 = 1"


def test_margins_are_to_the_best_other_of_each_figure():
    quality, depth = margins(SCORES, "ours", ["visible", "layers"])
    assert quality == {
        "figure": "APQ",
        "ours": 42.0,
        "best": "visible",
        "its": 39.5,
        "margin": 2.5,
        "percent": 250 / 39.5,
    }
    assert (depth["best"], depth["margin"], depth["percent"]) == ("layers", 1.0, 25.0)


def test_baselines_with_our_masks_are_rivals_in_depth_alone():
    scores = {**SCORES, "depth only": {0: figures(50.0, 1.0)}}
    quality, depth = margins(scores, "ours", ["visible", "layers", "depth only"], ["depth only"])
    assert (quality["best"], quality["margin"]) == ("visible", 2.5)
    assert (depth["best"], depth["margin"]) == ("depth only", -2.0)
    (depth,) = margins(scores, "ours", ["depth only"], ["depth only"])
    assert depth["figure"] == "RMSE_hidden [m]"


def test_weathers_are_shares_of_day():
    parts = [
        {w: {"frames": 4, "panoptic.strict.APQ": q} for w, q in (("day", d), ("fog", f))}
        for d, f in ((50, 30), (30, 30))
    ]
    scores = {"ours": {seed: figures(40.0, 2.0, part) for seed, part in enumerate(parts)}}
    fog = row_of(condition_table(scores, ["ours"]), "ours, fog")
    assert (fog["frames"], fog["APQ"], fog["APQ_T^O"], fog["APQ, % of day"]) == ("4", "30.0 ± 0.0", "–", "75")
    assert condition_table(SCORES, ["ours"]).rows == ()
