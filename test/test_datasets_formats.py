"""Formats found by content, AmodalSynthDrive as it is published, and predictions scored from end to end."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from dataset_samples import make_rig, make_sample
from panoptic_files import CAR, ENTRIES, HIDDEN, PIXELS, changed, write, write_png
from test_datasets_kins import FIRST_RELEASE

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceWriter, read_sequence, readable_sequences
from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.datasets.formats import FORMATS, open_predictions, open_sequences
from amodal_perception_ros.evaluation.run import evaluate
from amodal_perception_ros.evaluation.sources import DataSet, StoredPredictions

SEQUENCE = "20230702052221_WetCloudyNoon_Town10HD"


def write_published(root, sequence=SEQUENCE, cameras=("front", "back"), frames=(3, 4), entries=ENTRIES, images=True):
    """AmodalSynthDrive as published: pictures, panoptic files and levels; no calibration, stamps or depth."""
    for camera in cameras:
        for frame in frames:
            folder = root / "amodal_panoptic_seg" / camera / sequence
            write(folder, f"{camera}_full_{frame:04d}", entries=entries)
            if images:
                (folder / f"{camera}_full_{frame:04d}_rel.json").write_text('{"0": [24001], "1": [26001], "2": []}')
                picture = np.full((4, 6, 3), 90)
                write_png(root / f"images/{camera}/{sequence}/{camera}_full_{frame:04d}_rgb.jpg", picture, np.uint8)


@pytest.fixture
def published(tmp_path):
    write_published(tmp_path / "asd/val")
    return tmp_path / "asd"


def test_the_published_data_set_needs_no_calibration(published):
    (sequence,) = open_sequences(published)
    assert (sequence.name, len(sequence), sequence.numbers) == (SEQUENCE, 2, [3, 4])
    assert {"calibration", "stamps", "odometry", "depth", "lidar", "boxes", "bev"} <= set(sequence.missing)
    assert not {"images", "levels", "segments"} & set(sequence.missing)
    assert sequence.info["resolved"] == {"weather": "WetCloudyNoon", "layout": "Town10HD"}
    sample = sequence[1]
    assert [(c.name, c.width, c.height, c.is_calibrated) for c in sample.frame.rig.cameras] == [
        ("front", 6, 4, False),
        ("back", 6, 4, False),
    ]
    assert sample.frame.images["back"].shape == (4, 6, 3)
    scene = sample.truth.cameras["back"]
    assert [(i.instance_id, i.occlusion_level, i.track_id) for i in scene.instances] == [(26001, 1, 4), (24001, 0, 9)]
    assert (scene.order.occluder_ids.tolist(), scene.order.occludee_ids.tolist()) == ([24001], [26001])
    assert np.isnan(scene.depth).all()
    assert not sequence.repairs
    with pytest.raises(DatasetError, match="has no calibration, depth; give the calibration as `rig`"):
        sequence.require("calibration", "depth", "levels")


def test_what_needs_a_calibration_says_so(published, capsys):
    assert len(readable_sequences([published])) == 1
    with pytest.raises(DatasetError, match=r"none of 1 sequences can be read; .* has no calibration"):
        readable_sequences([published], needs=("images", "calibration"))


def test_depth_of_unknown_encoding_is_not_read(published):
    """Nobody has published how AmodalSynthDrive's depth is stored; a file of our name may hold anything."""
    write_png(published / f"val/depth/front/{SEQUENCE}/front_full_0003_depth.png", np.full((4, 6), 512))
    (sequence,) = open_sequences(published)
    assert "depth" in sequence.missing
    assert np.isnan(sequence[0].truth.cameras["front"].depth).all()


def test_pickles_are_not_touched(published):
    for path in (f"lidar/{SEQUENCE}/full_0003_Lidar.pkl", f"bboxes/{SEQUENCE}/bboxess_0003.pkl"):
        (published / "val" / path).parent.mkdir(parents=True)
        (published / "val" / path).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    (sequence,) = open_sequences(published)
    assert {"lidar", "boxes"} <= set(sequence.missing)
    assert (sequence[0].frame.lidar, sequence[0].objects) == (None, [])


def test_predictions_in_the_published_form(published, tmp_path):
    """Panoptic files alone, an occlusion mask only where something is hidden, no levels, no tracks."""
    (truth,) = open_sequences(published)
    entries = {
        "26001": {"amodal_mask": CAR, "occlusion_mask": HIDDEN, "category_id": 26, "score": 0.5},
        "24001": {"amodal_mask": {"size": [4, 6], "counts": [13, 3, 8]}, "category_id": 24},
    }
    write_published(tmp_path / "p", frames=(3, 9), cameras=("front", "back", "left"), entries=entries, images=False)
    write_published(tmp_path / "p", sequence="other", frames=(3, 4), entries=entries, images=False)
    predictions = open_predictions(tmp_path / "p", [truth])
    assert predictions.unknown == {"unknown_camera": 1, "unknown_frame": 1, "unknown_sequence": 2}
    assert predictions.unknown.places == {
        "unknown_camera": [f"{SEQUENCE} camera left"],
        "unknown_frame": [f"{SEQUENCE} frame 0009"],
        "unknown_sequence": ["other"],
    }
    prediction = predictions.read(truth[0])
    assert set(prediction.cameras) == {"front", "back"}
    assert (prediction.objects, prediction.bev) == (None, None)
    car, person = prediction.cameras["front"].instances
    assert (car.score, car.occlusion_level, car.track_id) == (0.5, 1, 0)
    assert (car.amodal_mask.area, car.visible_mask.area, person.occlusion_level) == (8, 6, 0)
    assert not predictions.repairs
    missing = re.escape(f"amodal_panoptic_seg/front/{SEQUENCE}/front_full_0004_ampano.png")
    with pytest.raises(DatasetError, match=f"no prediction for frame 0004 of '{SEQUENCE}'; expected .*{missing}"):
        predictions.read(truth[1])


def test_what_is_missing_among_predictions_is_named(published, tmp_path):
    (truth,) = open_sequences(published)
    write_published(tmp_path / "one", cameras=("front",), images=False)
    with pytest.raises(DatasetError, match=r"back_full_0003_ampano\.png: no prediction of camera 'back'"):
        open_predictions(tmp_path / "one", [truth]).read(truth[0])
    write_published(tmp_path / "two", sequence="other", images=False)
    with pytest.raises(DatasetError, match=rf"expected .*{SEQUENCE}/front_full_0003_ampano\.png"):
        open_predictions(tmp_path / "two", [truth]).read(truth[0])
    write_published(tmp_path / "three", images=False)
    (tmp_path / f"three/amodal_panoptic_seg/back/{SEQUENCE}/back_full_0003_ampano.json").unlink()
    with pytest.raises(DatasetError, match=r"back_full_0003_ampano\.json: cannot be read"):
        open_predictions(tmp_path / "three", [truth]).read(truth[0])
    for split in ("train", "val"):
        write_published(tmp_path / "four" / split, images=False)
    with pytest.raises(DatasetError, match=f"holds sequence '{SEQUENCE}' twice"):
        open_predictions(tmp_path / "four", [truth])
    write_published(tmp_path / "five", images=False)
    path = tmp_path / f"five/amodal_panoptic_seg/front/{SEQUENCE}/front_full_0003_ampano.png"
    write_png(path, np.repeat(PIXELS, 2, axis=0))
    with pytest.raises(DatasetError, match=r"front_full_0003_ampano\.png: expected a 16-bit grey PNG of \(4, 6\)"):
        open_predictions(tmp_path / "five", [truth]).read(truth[0])
    with pytest.raises(DatasetError, match="six: does not exist"):
        open_predictions(tmp_path / "six", [truth])


def test_a_missing_label_file_damages_the_sequence(published, capsys):
    write_published(published / "val", sequence="whole")
    (published / f"val/amodal_panoptic_seg/back/{SEQUENCE}/back_full_0004_ampano.png").unlink()
    assert [s.name for s in open_sequences(published)] == ["whole"]
    assert f"skipped 1 of 2 sequences: {SEQUENCE}: " in capsys.readouterr().err


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    root = tmp_path_factory.mktemp("ours")
    with SequenceWriter(root) as writer:
        for index in range(2):
            writer.write(make_sample(index))
    return root


def test_our_own_predictions_hold_depth_order_boxes_and_bev(ours):
    (truth,) = open_sequences(ours)
    prediction = open_predictions(ours, [truth]).read(truth[1])
    for name, scene in truth[1].truth.cameras.items():
        predicted = prediction.cameras[name]
        assert np.array_equal(predicted.labels, scene.labels)
        assert np.array_equal(predicted.depth, scene.depth, equal_nan=True)
        assert np.array_equal(predicted.order.occluder_ids, scene.order.occluder_ids)
        assert len(scene.order)
        for one, other in zip(predicted.instances, scene.instances):
            assert (one.instance_id, one.occlusion_level) == (other.instance_id, other.occlusion_level)
            assert one.amodal_mask == other.amodal_mask
            assert np.array_equal(one.depth, other.depth, equal_nan=True)
    assert [box.track_id for box in prediction.objects] == [box.track_id for box in truth[1].objects]
    assert np.array_equal(prediction.bev.amodal, truth[1].bev.amodal)


def test_what_we_write_has_no_contradiction(ours):
    """The search for contradictions, which the reader spares itself on our data, finds none in it."""
    (truth,) = open_sequences(ours)
    predictions = open_predictions(ours, [truth])
    for sample in truth:
        predictions.read(sample)
    assert not predictions.repairs


def test_a_wrong_prediction_of_ours_is_mended_and_counted(ours, tmp_path):
    (truth,) = open_sequences(ours)
    changed_copy = shutil.copytree(ours, tmp_path / "p")
    path = changed_copy / "amodal_panoptic_seg/front/made/front_full_0000_ampano.json"
    entries = json.loads(path.read_text())
    front = next(edge["id"] for entry in entries.values() for edge in entry.get("occluders", []))
    behind = next(key for key, entry in entries.items() if any(e["id"] == front for e in entry.get("occluders", [])))
    gone = entries.pop(str(front))
    assert gone
    path.write_text(json.dumps(entries))
    predictions = open_predictions(changed_copy, [truth])
    scene = predictions.read(truth[0]).cameras["front"]
    assert front not in {i.instance_id for i in scene.instances}
    assert front not in scene.order.occluder_ids
    cause = "occluders that are no segment of the image, dropped"
    assert f"{path}: segment {behind} behind {front}" in predictions.repairs.places[cause]


def test_a_prediction_without_a_description_may_hold_depth(ours, tmp_path):
    """What docs/data-format.md describes is enough; the description of a sequence is not needed."""
    (truth,) = open_sequences(ours)
    bare = tmp_path / "bare"
    for kind in ("amodal_panoptic_seg", "depth", "amodal_depth"):
        shutil.copytree(ours / kind, bare / kind)
    scene = open_predictions(bare, [truth]).read(truth[0]).cameras["front"]
    assert np.array_equal(scene.depth, truth[0].truth.cameras["front"].depth, equal_nan=True)
    assert len(scene.order) == len(truth[0].truth.cameras["front"].order)


def test_every_format_is_found_by_its_content(tmp_path, published, ours):
    write(tmp_path / "own/any/where", "a")
    (tmp_path / "own/classes.json").write_text('{"name": "Toy", "stuff": {}, "things": {"26": "car", "24": "dog"}}')
    assert open_sequences(tmp_path / "own")[0].classes.name == "Toy"
    assert open_sequences(published / "val" / SEQUENCE)[0].name == SEQUENCE
    assert open_sequences(str(ours))[0].name == "made"
    # Pictures in folders are no AmodalSynthDrive.
    write_png(tmp_path / "other/images/a/b/c.png", PIXELS)
    write(tmp_path / "other/labels/a/b", "c")
    with pytest.raises(DatasetError, match="holds amodal panoptic labels of unknown classes; name the format"):
        open_sequences(tmp_path / "other")
    assert open_sequences(tmp_path / "other/labels", "bdd100k-aps")[0].name == "a/b/c"


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is empty"),
        (lambda path: (path / "stuff").mkdir(parents=True), "holds stuff"),
        (lambda path: path.write_text("{}"), "a file of no known format"),
        (lambda path: path.write_text(""), "a file of no known format"),
    ],
)
def test_what_is_no_data_set_is_told_with_the_known_formats(tmp_path, make, found):
    make(tmp_path / "x")
    with pytest.raises(DatasetError, match=f"x: {found}; known formats: .*") as caught:
        open_sequences(tmp_path / "x")
    assert all(name in str(caught.value) for name in FORMATS)
    assert "\n" not in str(caught.value)


def test_a_wrong_format_is_named(published, tmp_path):
    with pytest.raises(DatasetError, match="unknown format 'coco'; known are amodal-synth-drive, kitti-360-aps"):
        open_sequences(published, "coco")
    with pytest.raises(DatasetError, match="give no other folder"):
        open_sequences(published, images=tmp_path)
    truth = open_sequences(published)
    write_published(tmp_path / "p", images=False)
    assert open_predictions(tmp_path / "p", truth, "amodal-synth-drive").read(truth[0][0]).cameras
    with pytest.raises(DatasetError, match="predictions in the format kins cannot be for data of AmodalSynthDrive"):
        open_predictions(tmp_path / "p", truth, "kins")


def scores(data, predictions, format_=None):
    evaluation = evaluate(
        DataSet((data,), format_), {"ours": StoredPredictions(predictions, format_)}, workers=1, resamples=0
    )
    return evaluation.runs["ours"]


@pytest.mark.parametrize("format_", ["amodal-synth-drive", "kitti-360-aps", "bdd100k-aps"])
def test_whole_sets_are_scored(tmp_path, format_):
    """The perfect prediction has 100 %; one that does not see behind the person loses the hidden part."""
    names = {"data": ENTRIES, "blind": changed(_26001={"occluded": False, "occlusion_mask": [], "amodal_mask": []})}
    for name, entries in names.items():
        if format_ == "amodal-synth-drive":
            write_published(tmp_path / name, entries=entries)
        else:
            write(tmp_path / name, "drive/0001", entries=entries)
            write(tmp_path / name, "drive/0002", entries=entries)
    given = None if format_ == "amodal-synth-drive" else format_
    perfect = scores(tmp_path / "data", tmp_path / "data", given)
    assert perfect["masks"]["AIoU"] == perfect["masks"]["OIoU"] == 100.0
    assert perfect["semantic"]["mIoU"] == perfect["order"]["accuracy"] == 100.0
    assert perfect["invariants"]["violations"] == 0
    blind = scores(tmp_path / "data", tmp_path / "blind", given)
    assert blind["masks"]["VIoU"] == 100.0
    assert blind["masks"]["OIoU"] == 0.0


def test_a_calibration_given_by_hand_is_used(published):
    rig = make_rig(6, 4, ("front", "back"))
    reader = read_sequence(published, rig=rig)
    assert "calibration" not in reader.missing
    assert reader.rig is rig
    assert cv2.imread(str(reader.image_path(0, "front"))).shape == (4, 6, 3)


def test_a_piece_is_there_if_any_image_has_it(published):
    """Levels that the first image lacks are not those of no image: the missing file is named."""
    (published / f"val/amodal_panoptic_seg/front/{SEQUENCE}/front_full_0003_rel.json").unlink()
    with pytest.raises(DatasetError, match=r"front_full_0003_rel\.json: cannot be read"):
        open_sequences(published)


def test_names_are_no_patterns(tmp_path):
    write_published(tmp_path / "a[1]", sequence="seq[1]*", images=False)
    (sequence,) = open_sequences(tmp_path / "a[1]")
    assert (sequence.name, len(sequence)) == ("seq[1]*", 2)
    assert set(sequence[0].truth.cameras) == {"front", "back"}


def test_predictions_for_a_damaged_sequence_are_not_unknown(published, tmp_path):
    write_published(published / "val", sequence="damaged")
    (published / "val/amodal_panoptic_seg/back/damaged/back_full_0004_ampano.json").write_text("{")
    truth = open_sequences(published)
    assert [sequence.name for sequence in truth] == [SEQUENCE]
    assert truth[0].repairs == {"sequences that cannot be read, left out": 1, "frames of such sequences": 2}
    for name in (SEQUENCE, "damaged", "other"):
        write_published(tmp_path / "p", sequence=name, images=False)
    assert open_predictions(tmp_path / "p", truth).unknown == {"skipped_sequence": 2, "unknown_sequence": 2}


def test_a_cut_annotation_file_is_named_with_the_place(tmp_path):
    path = tmp_path / "cut.json"
    path.write_text(FIRST_RELEASE[:200])
    with pytest.raises(DatasetError, match=r"cut.json: not valid JSON \(.*line \d+ column \d+"):
        open_sequences(path)


def test_a_format_of_files_says_so_of_a_folder(tmp_path):
    with pytest.raises(DatasetError, match=r"is a folder; kins is a file \(JSON with inmodal_seg"):
        open_sequences(tmp_path, "kins")


def test_predictions_of_another_format_than_the_data_are_told(published, tmp_path):
    path = tmp_path / "kins.json"
    path.write_text(FIRST_RELEASE)
    with pytest.raises(DatasetError, match="in the format amodal-synth-drive cannot be for data of KINS"):
        open_predictions(published, open_sequences(path))
    with pytest.raises(DatasetError, match="in the format kins cannot be for data of AmodalSynthDrive"):
        open_predictions(path, open_sequences(published))
