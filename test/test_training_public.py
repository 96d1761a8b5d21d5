"""Training on data sets of other people: what they do not annotate is unknown, not background."""

import json
import shutil
from dataclasses import fields

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from test_training_data import write_sequences
from training_toy import toy_sample

from amodal_perception_ros.cli import main
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, STUFF, THINGS, ClassList
from amodal_perception_ros.network import load_weights
from amodal_perception_ros.training.classes import class_map
from amodal_perception_ros.training.dataset import collate, prepare_cache, split_sequences
from amodal_perception_ros.training.records import make_records
from amodal_perception_ros.training.sources import composited, open_training_data

torch.set_num_threads(1)
SIZE = (128, 96)
KINS_NAMES = {1: "cyclist", 2: "pedestrian", 4: "car", 5: "bicycle", 6: "truck", 7: "bus", 8: "misc"}
OF_THING = {"rider": 1, "person": 2, "car": 4, "bike": 5, "truck": 6, "bus": 7}
"""Class of the toy scenes -> category of the KINS-like file; the others are "misc"."""

CONFIG = """
network: {stem_channels: 8, widths: [12, 16, 24, 32], depths: [1, 1, 1, 1], channels: 24, tokens: 16}
input_size: [128, 96]
batch_size: 2
max_minutes: null
max_steps: 2
workers: 0
prepare_workers: 1
device: cpu
field_tokens: 8
"""


def run_length(mask):
    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def write_kins(root, count=3):
    """A file in the form of KINS' first release, which states no order, and its pictures in a folder of their own."""
    (root / "image_2").mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        sample = toy_sample(number, cameras=("front",))
        cv2.imwrite(str(root / f"image_2/{number:06d}.png"), sample.frame.images["front"][..., ::-1])
        images.append({"id": number, "file_name": f"{number:06d}.png", "width": 128, "height": 96})
        for instance in sample.truth.cameras["front"].instances:
            name = AMODAL_SYNTH_DRIVE.by_id[instance.class_id].name
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": OF_THING.get(name, 8),
                    "iscrowd": 0,
                    "segmentation": run_length(instance.amodal_mask.to_array(96, 128)),
                    "inmodal_seg": run_length(instance.visible_mask.to_array(96, 128)),
                }
            )
    categories = [{"id": id_, "name": name} for id_, name in KINS_NAMES.items()]
    path = root / "instances_train.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def write_published(root):
    """AmodalSynthDrive as it is published: pictures and panoptic labels only."""
    write_sequences(root, ["20230702052221_WetCloudyNoon_Town10HD", "20230702052222_ClearNoon_Town01"], frames=2)
    for folder in root.iterdir():
        if folder.name not in ("images", "amodal_panoptic_seg"):
            shutil.rmtree(folder)
    return root


def records_of(sequence):
    return make_records(sequence[0], SIZE)


def test_what_kins_does_not_annotate_is_unknown(tmp_path):
    path = write_kins(tmp_path)
    sequences = open_training_data([path], "kins", tmp_path / "image_2")
    assert [sequence.name for sequence in sequences] == ["000000", "000001", "000002"]
    for number, sequence in enumerate(sequences):
        (record,) = records_of(sequence).values()
        truth = make_records(toy_sample(number, cameras=("front",)), SIZE)["front"]
        names = [THINGS[index].name for index in truth.classes]
        kept = [row for row, name in enumerate(names) if name in OF_THING]
        assert [THINGS[index].name for index in record.classes] == [names[row] for row in kept]
        np.testing.assert_array_equal(record.amodal, truth.amodal[kept])
        np.testing.assert_array_equal(record.visible, truth.visible[kept])
        assert not record.stuff.any()
        assert np.isnan(record.log_depth).all()
        assert np.isnan(record.object_log_depth).all()
        assert len(record.lidar_index) == 0
        others = [row for row in range(len(names)) if row not in kept]
        unknown = (truth.visible[others] > 0).any(0) | truth.ignored
        np.testing.assert_array_equal(record.ignored, unknown)


def test_the_order_that_masks_show_counts_where_no_other_is_stated(tmp_path):
    path = write_kins(tmp_path, count=8)
    edges = true_edges = 0
    for number, sequence in enumerate(open_training_data([path], None, tmp_path / "image_2")):
        (record,) = records_of(sequence).values()
        truth = make_records(toy_sample(number, cameras=("front",)), SIZE)["front"]
        kept = [row for row, index in enumerate(truth.classes) if THINGS[index].name in OF_THING]
        # Of rectangles behind one another some pairs overlap only where both are hidden: these stay unknown.
        expected = truth.occludes[np.ix_(kept, kept)]
        assert not (record.occludes & ~expected).any()
        edges, true_edges = edges + int(record.occludes.sum()), true_edges + int(expected.sum())
    assert 0.7 * true_edges < edges <= true_edges
    assert edges > 3


def test_unknown_truth_adds_nothing_to_the_targets(tmp_path):
    (record,) = records_of(open_training_data([write_kins(tmp_path)], None, tmp_path / "image_2")[2]).values()
    targets = collate([record], 4, np.random.default_rng(0), 0.0).targets
    assert not torch.isfinite(targets.log_depth).any()
    assert not torch.isfinite(targets.object_log_depth).any()
    assert not targets.stuff.any()
    assert record.ignored.any(), "the scene has an object of class misc"
    assert not targets.heat_weight.all()
    assert targets.heat_weight.mean() > 0.5


def test_amodal_synth_drive_as_published_has_labels_and_no_depth(tmp_path):
    first, second = open_training_data([write_published(tmp_path)])
    assert "calibration" in first.missing
    for number, sequence in enumerate((first, second)):
        for camera, record in records_of(sequence).items():
            truth = make_records(toy_sample(number), SIZE)[camera]
            for name in ("stuff", "classes", "boxes", "visible", "amodal", "ignored"):
                np.testing.assert_array_equal(getattr(record, name), getattr(truth, name), err_msg=name)
            assert np.isnan(record.log_depth).all()


def test_unlabelled_pixels_of_labelled_images_are_ignored():
    sample = toy_sample(3, cameras=("front",))
    scene = sample.truth.cameras["front"]
    before = make_records(sample, SIZE)["front"]
    stuff = scene.labels == 7000
    stuff[:, 64:] = False
    scene.labels[stuff] = 0
    after = make_records(sample, SIZE)["front"]
    road = [label.id for label in STUFF].index(7)
    assert stuff.any()
    assert (after.ignored & ~before.ignored).any()
    assert after.stuff[road].sum() < before.stuff[road].sum()
    for item in fields(before):
        if item.name not in ("ignored", "stuff"):
            np.testing.assert_array_equal(getattr(after, item.name), getattr(before, item.name), err_msg=item.name)


def test_classes_are_mapped_by_name():
    identity = class_map(AMODAL_SYNTH_DRIVE)
    assert identity.stuff == tuple((label.id,) for label in STUFF)
    assert identity.things == {label.id: index for index, label in enumerate(THINGS)}
    assert identity.unknown == ()
    other = class_map(
        ClassList.of("other", {1: "Road", 2: "water"}, {3: "Pedestrian", 4: "van", 5: "tram", 6: "bicycle"})
    )
    assert other.stuff[0] == (1,)
    assert {id_: THINGS[index].name for id_, index in other.things.items()} == {3: "person", 4: "car", 6: "bike"}
    assert other.unknown == ("water", "tram")


@pytest.mark.parametrize("kind", ["kins", "published", "both"])
def test_two_steps_of_training(kind, tmp_path, capsys):
    (tmp_path / "train.yaml").write_text(CONFIG)
    data = []
    if kind != "published":
        data.append(str(write_kins(tmp_path / "kins")))
    if kind != "kins":
        data.append(str(write_published(tmp_path / "asd")))
    images = [] if kind == "published" else ["--images", str(tmp_path / "kins/image_2")]
    out = tmp_path / "run"
    assert main(["train", "--data", *data, *images, "--config", str(tmp_path / "train.yaml"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert ("misc" in printed) == (kind != "published")
    network, metadata = load_weights(out / "weights.safetensors")
    assert metadata["steps"] == "2"
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_the_cache_knows_other_annotations_of_the_same_pictures(tmp_path):
    path = write_kins(tmp_path)
    first = open_training_data([path], None, tmp_path / "image_2")
    assert first[0].fingerprint() == open_training_data([path], None, tmp_path / "image_2")[0].fingerprint()
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 1 if content["annotations"][0]["category_id"] != 1 else 2
    path.write_text(json.dumps(content))
    second = open_training_data([path], None, tmp_path / "image_2")
    assert [a.fingerprint() == b.fingerprint() for a, b in zip(first, second)] == [False, True, True]
    files = prepare_cache(second, tmp_path / "cache", [SIZE], 1)[SIZE]
    assert len(files) == 3


def test_errors_name_what_is_missing(tmp_path):
    path = write_kins(tmp_path)
    with pytest.raises(InputError, match="has no pictures; name their folder with --images"):
        split_sequences([path], [], 1)
    with pytest.raises(InputError, match="no such picture"):
        prepare_cache(split_sequences([path], [], 0, None, tmp_path).train, tmp_path / "cache", [SIZE], 1)
    with pytest.raises(InputError, match="clip_art needs training data with calibration"):
        composited(open_training_data([path], None, tmp_path / "image_2"), 1)
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["name"] = f"product {category['id']}"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="no class of KINS is one of the network's things"):
        open_training_data([path], None, tmp_path / "image_2")
