"""Evaluation of data sets on disk: stored predictions, a real network, processes, the command and the comparison."""

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_scenes import HEIGHT, WIDTH, Thing, street, without
from test_datasets_cocoa import COCOA
from test_datasets_kins import FIRST_RELEASE, SECOND_RELEASE

from amodal_perception_ros.cli import _print, main
from amodal_perception_ros.datasets.amodal_synth_drive import SequenceWriter
from amodal_perception_ros.evaluation import BASELINES, EvaluationError, Rules
from amodal_perception_ros.evaluation.bootstrap import weights
from amodal_perception_ros.evaluation.comparison import compare, format_comparison, read_runs
from amodal_perception_ros.evaluation.evaluation import Evaluation
from amodal_perception_ros.evaluation.run import evaluate, report
from amodal_perception_ros.evaluation.sources import DataSet, Model, StoredPredictions
from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, save_weights
from amodal_perception_ros.scene import AmodalObject, BevOccupancy, Rig, Sample, SurroundFrame, SurroundScene

FRAMES = 2


def things(frame):
    return (
        Thing("car", 1, (2 + frame, 2, 14 + frame, 14), 20.0),
        Thing("truck", 2, (10, 0, 20, 16), 10.0),
        Thing("person", 3, (22, 4, 26, 16), 6.0),
    )


def true_bev():
    """A grid of unknown cells with one hidden car."""
    visible, amodal = np.full((400, 400), -1, np.int8), np.zeros((400, 400), np.int8)
    amodal[200:205, 300:310] = 100
    semantic = np.where(amodal > 0, BY_NAME["car"].id, BY_NAME["road"].id).astype(np.uint8)
    return BevOccupancy(0, 0.2, (-40.0, -40.0), visible, amodal, semantic, np.zeros((400, 400), np.uint8), 0.2, 2.5)


def sample(frame, change=lambda scene: scene, sequence="town", name="front"):
    scene = change(street(*things(frame), name=name))
    stamp = 100_000_000 * (frame + 1)
    scene.stamp_ns = stamp
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    return Sample(
        sequence,
        frame,
        SurroundFrame(stamp, Rig((scene.camera,)), {name: image}, {name: stamp}, odom_from_base=np.eye(4)),
        SurroundScene(stamp, {name: scene}, "ground truth"),
        [],
        true_bev(),
    )


def write(root, frames=FRAMES, sequences=("town",), info=None, **kwargs):
    for sequence in sequences:
        with SequenceWriter(root, info=info) as writer:
            for frame in range(frames):
                writer.write(sample(frame, sequence=sequence, **kwargs))
    return root


def score(data, rules=None, workers=1, resamples=0, **predictions):
    """Evaluate runs, given as name = folder of stored predictions."""
    sources = {name: StoredPredictions(path) for name, path in predictions.items()}
    return evaluate(DataSet((data,)), sources, rules, workers, resamples)


def without_the_car(scene):
    return without(scene, 26001)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("truth"))


@pytest.fixture(scope="module")
def villages(tmp_path_factory):
    """Truth of five sequences, and predictions that miss the car in all, and in two of them."""
    root = tmp_path_factory.mktemp("villages")
    names = [f"village{k}" for k in range(5)]
    write(root / "truth", sequences=names[:3], info={"resolved": {"weather": "rain", "layout": "grid"}})
    write(root / "truth", sequences=names[3:], info={"resolved": {"weather": "noon", "layout": "grid"}})
    write(root / "poor", sequences=names, change=without_the_car)
    write(root / "fair", sequences=names[:2], change=without_the_car)
    write(root / "fair", sequences=names[2:])
    return root


def test_truth_scored_against_itself(data):
    evaluation = score(data, ours=data)
    assert (list(evaluation.runs), list(evaluation.baselines)) == (["ours"], list(BASELINES))
    ours = evaluation.runs["ours"]
    assert (ours["frames"], ours["images"]) == (FRAMES, FRAMES)
    assert {k: ours["data"][k] for k in ("sequences", "frames", "images", "images_without_objects")} == {
        "sequences": 1,
        "frames": FRAMES,
        "images": FRAMES,
        "images_without_objects": 0,
    }
    assert set(ours["panoptic"]["strict"].values()) == {100}
    assert ours["order"]["accuracy"] == ours["order"]["recall"] == 100
    assert (ours["order"]["pairs"], ours["order"]["edges"]) == (2, 2)
    assert ours["invariants"]["violations"] == 0
    assert ours["depth"]["RMSE_hidden"] == pytest.approx(0, abs=0.01)
    assert ours["occupancy"]["hidden_recall"] == 100
    assert "worst" not in ours
    visible = evaluation.baselines["amodal := visible"]
    assert visible["masks"]["OIoU"] == 0
    assert visible["depth"]["RMSE_hidden"] == pytest.approx(10, abs=0.01)
    assert visible["depth"]["hidden_px"] == ours["depth"]["hidden_px"]


def test_results_say_what_was_scored_against_what(data):
    results = score(data, mine=data).runs["mine"]
    assert results["source"] == f"predictions {data}"
    assert results["data"]["paths"] == [str(data)]
    assert str(Model(engine="onnxruntime")) == "weights of the package, onnxruntime"
    assert str(Model(lidar=False)) == "weights of the package, torch, without LiDAR"


def test_rules_reach_every_method(data):
    evaluation = score(data, Rules(min_visible_px=50), ours=data)
    results = [*evaluation.runs.values(), *evaluation.baselines.values()]
    assert {r["rules"]["min_visible_px"] for r in results} == {50}
    assert {r["excluded"]["truth_tiny"] for r in results} == {2}
    assert {tuple(r["excluded_places"]["truth_tiny"]) for r in results} == {
        (
            "sequence town frame 0, camera 'front', instance 24003",
            "sequence town frame 1, camera 'front', instance 24003",
        )
    }


# Several sequences -------------------------------------------------------------------------------------------------


def test_a_missed_car_is_counted_named_and_read_again(villages):
    evaluation = score(villages / "truth", ours=villages / "poor")
    ours = evaluation.runs["ours"]
    assert ours["per_class"]["car"]["FN"] == 5 * FRAMES
    assert ours["masks"]["recall"] == pytest.approx(200 / 3)
    assert ours["worst"][0] == {
        "sequence": "village0",
        "index": 0,
        "camera": "front",
        "missed": (26001,),
        "invented": (),
        "order_errors": (),
    }
    assert [w["sequence"] for w in ours["worst"]] == [f"village{k}" for k in range(5) for _ in range(FRAMES)]
    again = list(evaluation.worst_images("ours"))
    assert [(w.errors.sequence, w.errors.index) for w in again] == [(w["sequence"], w["index"]) for w in ours["worst"]]
    assert [len(w.truth.instances) - len(w.predicted.instances) for w in again] == [1] * len(again)
    assert {w.image.shape for w in again} == {(HEIGHT, WIDTH, 3)}


def test_results_are_the_same_for_any_number_of_processes(villages):
    one, two = (
        score(villages / "truth", workers=n, resamples=20, a=villages / "fair", b=villages / "poor") for n in (1, 2)
    )
    assert one.to_dict() == two.to_dict()
    assert one.runs["a"]["intervals"]["units"] == 5
    assert set(one.runs) == {"a", "b"}


def test_baselines_can_be_left_out(villages):
    data, sources = DataSet((villages / "truth",)), {"a": StoredPredictions(villages / "fair")}
    without, complete = (evaluate(data, sources, workers=1, resamples=0, with_baselines=b) for b in (False, True))
    assert without.baselines == {}
    assert list(complete.baselines) == list(BASELINES)
    assert without.runs == complete.runs


def test_a_network_scores_the_same_in_any_number_of_processes(villages, tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, AmodalNetwork(NetworkConfig(tokens=8)), {"model_id": "untrained"})
    source = {"ours": Model(weights)}
    one, two = (evaluate(DataSet((villages / "truth",)), source, workers=n, resamples=0) for n in (1, 2))
    assert one.to_dict() == two.to_dict()


def test_the_lidar_is_kept_from_a_network_on_request(villages, tmp_path):
    network = AmodalNetwork(NetworkConfig(tokens=8))
    torch.nn.init.normal_(network.trunk.guidance.write.weight)
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, network, {"model_id": "untrained"})
    truth = DataSet((villages / "truth",)).open(with_images=True)
    frame = truth[0][0].frame
    ahead = np.zeros((500, 4), np.float32)
    ahead[:, 2] = np.linspace(3, 30, 500)  # The cameras of this street look along z.
    seen = replace(frame, lidar=ahead, lidar_times_s=np.zeros(500, np.float32))
    blind = replace(frame, lidar=None)
    given, kept = (Model(weights, lidar=lidar).open(truth) for lidar in (True, False))

    def depth(reader, frame):
        return reader.read(replace(truth[0][0], frame=frame)).cameras["front"].depth

    np.testing.assert_array_equal(depth(kept, seen), depth(given, blind))
    assert not np.array_equal(depth(given, seen), depth(given, blind))


def test_conditions_are_scored_on_their_own(villages):
    """Both sequences without the car are among the three in the rain."""
    conditions = score(villages / "truth", ours=villages / "fair").runs["ours"]["per_condition"]
    assert list(conditions) == ["layout", "weather"]
    assert conditions["layout"]["grid"]["frames"] == 5 * FRAMES
    rain, noon = conditions["weather"]["rain"], conditions["weather"]["noon"]
    assert (rain["frames"], noon["frames"]) == (3 * FRAMES, 2 * FRAMES)
    assert rain["masks.recall"] == pytest.approx(100 * 7 / 9)
    assert noon["masks.recall"] == noon["panoptic.strict.APQ"] == 100


class Killed:
    """A run whose process is killed at the first frame of a sequence."""

    needs_images = False

    def __init__(self, path, sequence):
        self.path, self.sequence = path, sequence

    def open(self, truth):
        self.reader = StoredPredictions(self.path).open(truth)
        self.repairs, self.unknown = self.reader.repairs, self.reader.unknown
        return self

    def read(self, sample):
        if sample.sequence == self.sequence:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.reader.read(sample)


def test_a_process_that_dies_is_reported(villages):
    source = {"ours": Killed(villages / "fair", "village4")}
    with pytest.raises(EvaluationError, match="a process of the evaluation died"):
        evaluate(DataSet((villages / "truth",)), source, workers=2)


def test_an_error_in_a_process_is_the_same_as_without(villages, tmp_path):
    short = write(tmp_path / "short", sequences=["village0", "village1"])
    messages = []
    for workers in (1, 2):
        with pytest.raises(ValueError, match="no prediction for frame 0000 of 'village2'") as caught:
            score(villages / "truth", workers=workers, ours=short)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


# Other formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [FIRST_RELEASE, SECOND_RELEASE, COCOA])
def test_published_annotations_are_scored_against_themselves(text, tmp_path, capsys):
    """Data sets of objects alone have no stuff, depth, boxes or grids; the first release of KINS has no levels."""
    path, results = tmp_path / "annotations.json", tmp_path / "results.json"
    path.write_text(text)
    assert command("--data", path, "--predictions", path, "--workers", 1, "--json", results) == 0
    found = json.loads(results.read_text())
    assert found["data"]["classes"] in ("KINS", "COCOA")
    assert {found["panoptic"]["strict"][name] for name in ("APQ", "APQ_T", "APC")} == {100}
    assert found["masks"]["AIoU"] == found["instance"]["AP_A"] == 100
    assert not {"semantic", "occupancy", "tracking", "per_condition"} & set(found)
    assert not {"ADErr", "RMSE_vis", "RMSE_hidden"} & set(found.get("depth", {}))
    assert ("order" in found) == (text is not FIRST_RELEASE)
    assert found["invariants"]["violations"] == 0
    head = capsys.readouterr().out.split("APQ (strict)")[0]
    assert "results without a score, taken as 1" in head


# Comparison --------------------------------------------------------------------------------------------------------


def test_a_run_does_not_differ_from_itself(villages):
    runs = score(villages / "truth", resamples=20, a=villages / "fair").runs
    comparison = compare({"a": runs["a"], "b": runs["a"] | {"name": "b"}})
    assert comparison.names == ("a", "b")
    assert {row.cells[1].difference for row in comparison.rows} == {0}
    assert not any(cell.differs for row in comparison.rows for cell in row.cells)
    assert "* zero" in format_comparison(comparison).splitlines()[-1]


def test_runs_that_differ_are_marked(villages):
    """`poor` misses the car in every sequence, `fair` in two: recall 2/3 and 13/15 of the objects."""
    runs = score(villages / "truth", resamples=100, poor=villages / "poor", fair=villages / "fair").runs
    few = next(x for x in compare(runs).rows if x.row.path == "masks.recall").cells[1]
    assert few.difference_interval[0] > 0
    assert not few.differs, "of five sequences"
    for results in runs.values():
        results["intervals"]["units"] = 20
    row = next(row for row in compare(runs).rows if row.row.path == "masks.recall")
    poor, fair = row.cells
    assert (poor.value, fair.value) == (pytest.approx(200 / 3), pytest.approx(100 * 13 / 15))
    assert (poor.difference, poor.differs) == (None, False)
    assert fair.difference == pytest.approx(20)
    low, high = fair.difference_interval
    assert 0 < low < 20 < high <= 100 / 3 + 1e-9
    assert fair.differs
    line = next(x for x in format_comparison(compare(runs)).splitlines() if x.startswith("object recall"))
    assert line.startswith("object recall ↑")
    assert line.endswith("*")
    assert "66.7" in line
    assert "+20.0" in line


def test_baselines_are_compared_by_the_same_replicates(villages):
    """A perfect run against the baseline that knows no hidden part: OIoU 100 and 0 in every replicate."""
    evaluation = score(villages / "truth", resamples=20, perfect=villages / "truth")
    row = next(x for x in compare(evaluation.runs | evaluation.baselines).rows if x.row.path == "masks.OIoU")
    visible = row.cells[1]
    assert (visible.value, visible.difference, visible.difference_interval) == (0.0, -100.0, [-100.0, -100.0])
    assert not any("replicates" in results for results in evaluation.to_dict()["baselines"].values())


def test_replicates_that_draw_nothing_are_left_out(tmp_path):
    """Of two sequences every seventh replicate or so draws none; `reference` would count its classes as 0."""
    root = write(tmp_path, sequences=("east", "west"))
    results = score(root, resamples=60, perfect=root).runs["perfect"]
    low, high = results["intervals"]["figures"]["panoptic"]["reference"]["APQ"]
    assert low == high == pytest.approx(results["panoptic"]["reference"]["APQ"])


def test_what_cannot_be_compared_is_named(villages, data):
    fair = score(villages / "truth", resamples=10, fair=villages / "fair").runs["fair"]
    for other, message in (
        (score(data, resamples=10, b=data), "different data: 5 sequences with 10 frames .* and 1 sequence with 2"),
        (score(villages / "truth", resamples=5, b=villages / "fair"), "10 and 5 resamples"),
        (
            score(villages / "truth", Rules(max_depth=60.0), resamples=10, b=villages / "fair"),
            "max_depth 80.0 and 60.0",
        ),
    ):
        with pytest.raises(EvaluationError, match=message):
            compare({"a": fair, "b": other.runs["b"]})
    with pytest.raises(EvaluationError, match="at least two runs"):
        compare({"a": fair})


# The command -------------------------------------------------------------------------------------------------------


def command(*words):
    return main(["evaluate", *map(str, words)])


def test_command_prints_the_table_and_writes_json(data, tmp_path, capsys):
    path = tmp_path / "deep" / "result.json"
    assert command("--data", data, "--predictions", data, "--json", path, "--workers", 1) == 0
    printed = capsys.readouterr().out
    words = (
        "2 frames, 2 images, 1 sequence (",
        "↑ higher is better",
        "● best of the row",
        "APQ (strict)",
        "OIoU",
        "RMSE hidden",
        "amodal := filled box",
    )
    assert all(word in printed for word in words)
    assert "confidence intervals: none: they need at least two sequences" in printed
    result = json.loads(path.read_text())
    assert result["name"] == "ours"
    assert result["panoptic"]["strict"]["APQ_T_O"] == 100
    assert set(result["baselines"]) == set(BASELINES)


def test_command_writes_the_page_with_the_worst_images(villages, tmp_path, capsys):
    """`fair` misses the car in both frames of two villages: four images with an error, each drawn twice."""
    path = tmp_path / "page.html"
    words = ("--data", villages / "truth", "--predictions", villages / "fair", "--workers", 1, "--resamples", 20)
    assert command(*words, "--html", path, "--json", tmp_path / "fair.json") == 0
    assert f"wrote {path}" in capsys.readouterr().out
    page = path.read_text()
    assert page.count("data:image/jpeg") == 8
    assert "village0, frame 1, front: 1 missed, 0 invented, 0 in the wrong order" in page
    (tmp_path / "again.json").write_bytes((tmp_path / "fair.json").read_bytes())
    assert command("--compare", tmp_path / "fair.json", tmp_path / "again.json", "--html", path) == 0
    compared = path.read_text()
    assert compared.count("village0, frame 1, front: 1 missed") == 2  # of each run; the files hold no images
    assert "data:image" not in compared


def test_command_compares_files_of_earlier_runs(villages, tmp_path, capsys):
    paths = [tmp_path / "poor.json", tmp_path / "fair.json"]
    for path in paths:
        words = ("--data", villages / "truth", "--predictions", villages / path.stem, "--workers", 1)
        assert command(*words, "--resamples", 20, "--json", path) == 0
    capsys.readouterr()
    assert command("--compare", *paths) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("10 frames, 10 images, 5 sequences (AmodalSynthDrive)\n")
    assert "only 5 sequences: intervals are too narrow, differences are not marked" in printed
    assert all(f"{path}: left out or corrected" in printed for path in paths)
    head = next(line for line in printed.splitlines() if line.lstrip().startswith("unit"))
    assert all(word in head for word in (str(paths[0]), str(paths[1]), "difference"))
    together = tmp_path / "both.json"
    words = ("--data", villages / "truth", "--predictions", villages / "poor", villages / "fair", "--workers", 1)
    assert command(*words, "--name", "poor", "fair", "--resamples", 20, "--json", together) == 0
    assert "+20.0" in capsys.readouterr().out
    both, apart = Evaluation.from_file(together), read_runs(paths)
    assert list(both.runs) == ["poor", "fair"]
    for one, other in zip(both.runs.values(), apart.runs.values()):
        assert {**one, "name": ""} | {"baselines": 0, "runs": 0} == {**other, "name": ""} | {"baselines": 0, "runs": 0}
    assert list(both.worst_images("poor")) == []


def test_command_with_a_network(data, tmp_path, capsys):
    """An untrained network scores badly but runs through everything."""
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, AmodalNetwork(NetworkConfig(tokens=8)), {"model_id": "untrained"})
    assert command("--data", data, "--weights", weights, "--json", tmp_path / "r.json", "--workers", 1) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["images"] == FRAMES
    assert 0 <= result["panoptic"]["strict"]["APQ"] < 50
    assert "ours" in capsys.readouterr().out


def refused(capsys, *words):
    assert command(*words) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    return captured.err


def test_outputs_that_cannot_be_written_are_refused_before_scoring(data, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    scoring = ("--data", data, "--predictions", data, "--workers", 1)
    for option in ("--json", "--html"):
        assert "cannot be written (Is a directory;" in refused(capsys, *scoring, option, tmp_path / "folder")
    for paths in (("same", "same"), ("same", "folder/../same")):
        words = zip(("--json", "--html"), (tmp_path / path for path in paths))
        assert "is given twice" in refused(capsys, *scoring, *(word for pair in words for word in pair))
    assert not (tmp_path / "same").exists()


def test_a_file_that_fails_takes_nothing_with_it(data, tmp_path, capsys):
    """A full disk is found out only by writing."""
    page = tmp_path / "page.html"
    scoring = ("--data", data, "--predictions", data, "--workers", 1)
    assert command(*scoring, "--json", "/dev/full", "--html", page) == 2
    captured = capsys.readouterr()
    assert "/dev/full: cannot be written (No space left on device" in captured.err
    assert "APQ (strict)" in captured.out
    assert f"wrote {page}" in captured.out
    assert page.exists()


def test_a_full_standard_output_is_one_line_and_the_files_are_there(data, tmp_path):
    words = ["--data", data, "--predictions", data, "--workers", "1", "--json", tmp_path / "r.json"]
    program = "import sys; from amodal_perception_ros.cli import main; sys.exit(main())"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, "evaluate", *words], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "amodal: the standard output cannot be written (No space left on device)"
    assert json.loads((tmp_path / "r.json").read_text())["name"] == "ours"


def test_an_output_without_our_signs_gets_others(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "latin-1"))
    _print("66.7● ±0.5")
    assert sys.stdout.buffer.getvalue() == "66.7? ±0.5\n".encode("latin-1")


def test_a_reader_of_the_output_that_has_gone_away_is_no_error(data):
    words = ["--data", data, "--predictions", data, "--workers", "1"]
    program = "import sys; from amodal_perception_ros.cli import main; sys.exit(main())"
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", program, "evaluate", *words], stdout=pipe, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 0
    assert all(line.startswith("evaluated") for line in done.stderr.splitlines())


def test_comparisons_take_no_options_of_scoring_and_no_file_twice(tmp_path, capsys):
    path = tmp_path / "a.json"
    error = refused(capsys, "--compare", path, "--workers", 2, "--prediction-format", "kins", "--resamples", 0)
    assert "--prediction-format, --workers, --resamples cannot be given with it" in error
    assert f"--compare: {path} is given twice" in refused(capsys, "--compare", path, tmp_path / "." / "a.json")


@pytest.mark.parametrize("resamples", [1, 2])
def test_few_resamples_leave_no_figure_that_is_no_number(resamples, tmp_path, capsys):
    """The only replicate of these two sequences draws none of them."""
    names = [f"town{k}" for k in range(200)]
    empty = [name for name in names if not weights(name, resamples).any()][:2]
    root, results = write(tmp_path / "data", sequences=empty), tmp_path / "r.json"
    words = ("--data", root, "--predictions", root, "--workers", 1, "--resamples", resamples)
    assert command(*words, "--json", results) == 0
    assert "nan" not in capsys.readouterr().out.lower()
    json.loads(results.read_text(), parse_constant=pytest.fail)


def test_frames_without_true_boxes_are_real_frames(tmp_path):
    """The street empties after the first frame; the car that stays in the prediction is a ghost in the second."""
    car = AmodalObject(1, 26, 1.0, np.array([9.0, 0, 1]), np.ones(3), 0.0, np.zeros(3), 0.0, 1.0, ("front",), 0)
    for name, last in (("truth", []), ("ghost", [car])):
        with SequenceWriter(tmp_path / name) as writer:
            for frame, objects in enumerate(([car], last)):
                writer.write(replace(sample(frame), objects=objects))
    tracking = score(tmp_path / "truth", ours=tmp_path / "ghost").runs["ours"]["tracking"]
    assert (tracking["visible_recall"], tracking["false_per_frame"]) == (100, 0.5)


def test_quality_by_class_is_that_of_strict(villages):
    """`fair` misses the car in both frames of two of five villages, which `reference` does not count."""
    car = score(villages / "truth", ours=villages / "fair").runs["ours"]["per_class"]["car"]
    assert (car["TP"], car["FP"], car["FN"]) == (6, 0, 4)


def test_single_images_are_called_images(tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(COCOA)
    results = score(path, resamples=20, ours=path)
    size = results.runs["ours"]["data"]
    assert report(results).startswith(f"{size['images']} image")
    assert "sequence" not in report(results)
