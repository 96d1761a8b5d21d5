"""KINS: both releases, read from small files in the published form, with their defects."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from amodal_perception_ros.datasets.coco.cocoa import holds_cocoa
from amodal_perception_ros.datasets.coco.cocoa_cls import holds_cocoa_cls, holds_d2sa
from amodal_perception_ros.datasets.coco.kins import holds_kins, read_kins
from amodal_perception_ros.datasets.coco.scenes import CAMERA
from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.evaluator import Evaluator
from amodal_perception_ros.evaluation.pairs import Rules

FIRST_RELEASE = """{
  "info": {"description": "KINS"}, "licenses": [],
  "images": [{"id": 0, "file_name": "000000.png", "width": 12, "height": 6},
             {"id": 3, "file_name": "000003.png", "width": 12, "height": 6}],
  "categories": [{"supercategory": "Living Thing", "id": 1, "name": "cyclist"},
                 {"supercategory": "vehicles", "id": 4, "name": "car"}],
  "annotations": [
    {"id": 1, "image_id": 0, "category_id": 4, "iscrowd": 0, "area": 16, "bbox": [0, 1, 4, 4],
     "segmentation": [[0, 1, 4, 1, 4, 5, 0, 5]],
     "inmodal_bbox": [0, 1, 4, 4], "inmodal_seg": {"size": [6, 12], "counts": [1, 4, 2, 4, 2, 4, 2, 4, 49]}},
    {"id": 2, "image_id": 0, "category_id": 4, "iscrowd": 0, "area": 16, "bbox": [2, 1, 4, 4],
     "segmentation": [[2, 1, 6, 1, 6, 5, 2, 5]],
     "inmodal_bbox": [4, 1, 2, 4], "inmodal_seg": {"size": [6, 12], "counts": "i0420S1"}}
  ]}"""
"""Two cars of 4 x 4 pixels, side by side; the right one is hidden in two of its columns.

    .  .  .  .  .  .  .     1: car 1, 2: car 2, h: hidden part of car 2
    1  1  1h 1h 2  2  .
    1  1  1h 1h 2  2  .     (four such rows)
"""

SECOND_RELEASE = """{
  "images": [{"id": 7, "file_name": "000007.png", "width": 12, "height": 6}],
  "categories": [{"supercategory": "Living Thing", "id": 2, "name": "pedestrian"},
                 {"supercategory": "vehicles", "id": 4, "name": "car"}],
  "annotations": [
    {"id": 10, "image_id": 7, "category_id": 4, "iscrowd": 0, "oco_id": 1, "ico_id": 2,
     "a_segm": [[2, 1, 8, 1, 8, 5, 2, 5]], "a_bbox": [2, 1, 6, 4], "a_area": 24,
     "i_segm": [[4, 1, 8, 1, 8, 5, 4, 5]], "i_bbox": [4, 1, 4, 4], "i_area": 16},
    {"id": 11, "image_id": 7, "category_id": 2, "iscrowd": 0, "oco_id": 1, "ico_id": 1,
     "a_segm": [[0, 1, 4, 1, 4, 5, 0, 5]], "a_bbox": [0, 1, 4, 4], "a_area": 16,
     "i_segm": [[0, 1, 4, 1, 4, 5, 0, 5]], "i_bbox": [0, 1, 4, 4], "i_area": 16},
    {"id": 12, "image_id": 7, "category_id": 4, "iscrowd": 0, "oco_id": 1, "ico_id": 3,
     "a_segm": [[6, 1, 10, 1, 10, 5, 6, 5]], "a_bbox": [6, 1, 4, 4], "a_area": 16,
     "i_segm": [[8, 1, 10, 1, 10, 5, 8, 5]], "i_bbox": [8, 1, 2, 4], "i_area": 8},
    {"id": 13, "image_id": 7, "category_id": 4, "iscrowd": 0, "oco_id": 2, "ico_id": 0,
     "a_segm": [[11, 0, 12, 0, 12, 1, 11, 1]], "a_bbox": [11, 0, 1, 1], "a_area": 1,
     "i_segm": [[11, 0, 12, 0, 12, 1, 11, 1]], "i_bbox": [11, 0, 1, 1], "i_area": 1}
  ]}"""
"""A pedestrian (11) hides two columns of a car (10), which hides two columns of a car (12); 13 stands alone."""


def read(tmp_path, text, change=None):
    content = json.loads(text)
    if change:
        change(content)
    path = tmp_path / "kins.json"
    path.write_text(json.dumps(content))
    return read_kins(path, None, ("truth",))


def scene_of(sequence):
    return sequence[0].truth.cameras[CAMERA]


def rectangle(left, top, right, bottom, width=12, height=6):
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_the_first_release_gives_amodal_and_visible_masks(tmp_path):
    path = tmp_path / "instances_val.json"
    path.write_text(FIRST_RELEASE)
    assert holds_kins(path)
    assert not any(holds(path) for holds in (holds_cocoa, holds_cocoa_cls, holds_d2sa))
    first, second = read_kins(path, None, ("truth",))
    assert (first.name, second.name, len(first)) == ("000000", "000003", 1)
    assert [(label.id, label.name, label.is_thing) for label in first.classes.labels] == [
        (1, "cyclist", True), (4, "car", True),
    ]  # fmt: skip
    scene = scene_of(first)
    assert (scene.camera.width, scene.camera.height, scene.camera.is_calibrated) == (12, 6, False)
    assert not scene.labels.any()
    assert np.isnan(scene.depth).all()
    left, right = scene.instances
    assert (left.instance_id, right.instance_id, left.class_id) == (4001, 4002, 4)
    np.testing.assert_array_equal(left.amodal_mask.to_array(6, 12), rectangle(0, 1, 4, 5))
    np.testing.assert_array_equal(left.visible_mask.to_array(6, 12), rectangle(0, 1, 4, 5))
    np.testing.assert_array_equal(right.amodal_mask.to_array(6, 12), rectangle(2, 1, 6, 5))
    np.testing.assert_array_equal(right.visible_mask.to_array(6, 12), rectangle(4, 1, 6, 5))
    assert (left.occlusion_level, right.occlusion_level, len(scene.order)) == (0, 1, 0)
    assert {"levels", "segments", "depth", "calibration"} <= set(first.missing)
    assert scene_of(second).instances == []
    assert not first.repairs
    decode(scene)


def test_the_second_release_gives_the_occlusion_order_of_each_cluster(tmp_path):
    (sequence,) = read(tmp_path, SECOND_RELEASE)
    assert holds_kins(tmp_path / "kins.json")
    scene = scene_of(sequence)
    car, pedestrian, far, alone = scene.instances
    assert [i.instance_id for i in scene.instances] == [4001, 2001, 4002, 4003]
    # Pedestrian and far car are of one cluster too, but do not overlap.
    edges = zip(scene.order.occluder_ids, scene.order.occludee_ids, scene.order.overlap_px)
    assert set(edges) == {(2001, 4001, 8), (4001, 4002, 8)}
    assert [pedestrian.occlusion_level, car.occlusion_level, far.occlusion_level, alone.occlusion_level] == [0, 1, 2, 0]
    assert car.hidden_mask.area == 8
    assert "levels" not in sequence.missing
    decode(scene)


def test_objects_of_equal_order_or_of_order_0_give_no_edge(tmp_path):
    def change(content):
        for annotation, order in zip(content["annotations"], (1, 1, 0, 0)):
            annotation["ico_id"] = order

    (sequence,) = read(tmp_path, SECOND_RELEASE, change)
    assert len(scene_of(sequence).order) == 0


def test_objects_of_other_clusters_give_no_edge(tmp_path):
    (sequence,) = read(tmp_path, SECOND_RELEASE, lambda content: content["annotations"][2].update(oco_id=5))
    order = scene_of(sequence).order
    assert list(zip(order.occluder_ids, order.occludee_ids)) == [(2001, 4001)]


def test_masks_are_those_of_the_coco_api(tmp_path):
    (sequence,) = read(tmp_path, SECOND_RELEASE)
    api = COCO(str(tmp_path / "kins.json"))
    for instance, annotation in zip(scene_of(sequence).instances, api.loadAnns([10, 11, 12, 13])):
        for key, mask in (("a_segm", instance.amodal_mask), ("i_segm", instance.visible_mask)):
            expected = api.annToMask({**annotation, "segmentation": annotation[key]})
            np.testing.assert_array_equal(mask.to_array(6, 12), expected)


@pytest.mark.parametrize(
    ("change", "cause", "left"),
    [
        ({"image_id": 99}, "annotations of images that the file does not list, left out", 3),
        ({"category_id": 99}, "annotations with an unknown category, left out", 3),
        ({"id": 11}, "annotations with the id of another one, left out", 3),
        ({"iscrowd": 1}, "crowd regions, left out", 3),
        ({"a_segm": None}, "annotations without an amodal mask, left out", 3),
        ({"i_segm": None}, "annotations without a visible mask, left out", 3),
        ({"a_segm": [], "i_segm": []}, "objects without a pixel in the image, left out", 3),
        ({"a_segm": [[20, 1, 24, 1, 24, 5]], "i_segm": []}, "objects without a pixel in the image, left out", 3),
        ({"i_segm": []}, "objects without a visible pixel, kept as fully hidden", 4),
        ({"i_segm": [[4, 1, 8, 1]]}, "objects without a visible pixel, kept as fully hidden", 4),
        ({"a_segm": []}, "amodal masks without part of the visible or hidden mask, joined", 4),
        (
            {"i_segm": {"size": [12, 6], "counts": [72]}},
            "objects with a mask that cannot be decoded, left out",
            3,
        ),
    ],
)
def test_errors_of_one_annotation_are_counted_with_their_place(tmp_path, change, cause, left):
    (sequence,) = read(tmp_path, SECOND_RELEASE, lambda content: content["annotations"][2].update(change))
    instances = scene_of(sequence).instances
    assert len(instances) == left
    assert dict(sequence.repairs) == {cause: 1}
    named = "kins.json, annotation 11" if "id of another" in cause else "kins.json, annotation 12"
    assert sequence.repairs.places[cause][0].startswith(named)


def test_pixels_seen_outside_the_amodal_mask_belong_to_the_object(tmp_path):
    def change(content):
        content["annotations"][0]["i_segm"] = [[4, 0, 8, 0, 8, 5, 4, 5]]

    (sequence,) = read(tmp_path, SECOND_RELEASE, change)
    car = scene_of(sequence).instances[0]
    assert (car.visible_mask.area, car.amodal_mask.area) == (20, 28)
    assert sequence.repairs["amodal masks without part of the visible or hidden mask, joined"] == 1
    assert scene_of(sequence).instances[0].amodal_mask.area == 28
    assert sequence.repairs["amodal masks without part of the visible or hidden mask, joined"] == 1, "counted once"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), "no list 'images'"),
        (lambda c: c.pop("annotations"), "no list 'annotations'"),
        (lambda c: c.update(categories={}), "no list 'categories'"),
        (lambda c: c.update(categories=[]), "'categories' is no list of classes"),
        (lambda c: c.update(categories=[{"id": 0, "name": "car"}]), "must be unique, from 1"),
        (lambda c: c.update(images=[{"id": 1}]), "no entry of 'images' has 'file_name'"),
        (lambda c: [a.pop("i_segm") for a in c["annotations"]], "no entry of 'annotations' has 'visible_segm' or"),
        (lambda c: [a.pop("a_segm") for a in c["annotations"]], "no entry of 'annotations' has 'amodal_segm' or"),
        (lambda c: [a.pop("image_id") for a in c["annotations"]], "no entry of 'annotations' has 'image_id'"),
    ],
)
def test_errors_of_the_whole_file_name_file_and_key(tmp_path, change, message):
    with pytest.raises(DatasetError, match=message) as error:
        read(tmp_path, SECOND_RELEASE, change)
    assert "kins.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"images": [', "[" * 100_000])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "kins.json"
    path.write_text(text)
    assert not holds_kins(path)
    with pytest.raises(DatasetError, match=r"kins\.json"):
        read_kins(path, None, ("truth",))
    assert not holds_kins(tmp_path)
    with pytest.raises(DatasetError, match=r"missing\.json.*cannot be read"):
        read_kins(tmp_path / "missing.json", None, ("truth",))


NO_SIZE = "images without a size up to 67108864 pixels, left out"


@pytest.mark.parametrize(
    ("image", "cause"),
    [
        ({"id": 7, "file_name": "a.png", "width": 12, "height": 6}, "images with the id of another one, left out"),
        ({"id": 8, "file_name": "", "width": 12, "height": 6}, "images without a file name, left out"),
        ({"id": None, "file_name": "a.png", "width": 12, "height": 6}, "images without an id, left out"),
        ({"id": 8, "file_name": "a.png", "width": 0, "height": 6}, NO_SIZE),
        ({"id": 8, "file_name": "a.png", "width": 2**31, "height": 2}, NO_SIZE),
        ({"id": 8, "file_name": "a.png", "width": "12", "height": 6}, NO_SIZE),
        ("a.png", "images without an id, left out"),
    ],
)  # fmt: skip
def test_images_that_cannot_be_used_are_counted(tmp_path, image, cause):
    (sequence,) = read(tmp_path, SECOND_RELEASE, lambda content: content["images"].append(image))
    assert dict(sequence.repairs) == {cause: 1}
    assert len(scene_of(sequence).instances) == 4


def test_equal_file_names_get_different_sequence_names(tmp_path):
    def change(content):
        content["images"].append({"id": 8, "file_name": "other/000007.png", "width": 12.0, "height": 6})

        content["images"].append({"id": 9, "file_name": "000007-8.png", "width": 12, "height": 6})

    names = [sequence.name for sequence in read(tmp_path, SECOND_RELEASE, change)]
    assert names == ["000007", "000007-8", "000007-8-9"]


def test_what_is_occluded_is_never_on_level_0(tmp_path):
    """An `ico_id` of 0 says nothing of the order, but the masks say that the car is occluded."""
    (sequence,) = read(tmp_path, SECOND_RELEASE, lambda c: [a.update(ico_id=0) for a in c["annotations"]])
    scene = scene_of(sequence)
    assert len(scene.order) == 0
    assert [i.occlusion_level for i in scene.instances] == [1, 0, 1, 0]


def test_an_order_against_the_masks_is_left_out(tmp_path):
    """The car (10) cannot hide the pedestrian (11), who is seen whole; it hides the far car (12)."""

    def change(content):
        for annotation, order in zip(content["annotations"], (1, 2, 3, 0)):
            annotation["ico_id"] = order

    (sequence,) = read(tmp_path, SECOND_RELEASE, change)
    scene = scene_of(sequence)
    assert set(zip(scene.order.occluder_ids, scene.order.occludee_ids)) == {(4001, 4002)}
    assert [i.occlusion_level for i in scene.instances] == [1, 0, 2, 0]
    assert sequence.repairs == {"occlusion orders onto objects without a hidden pixel, left out": 1}


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([{"id": n, "name": f"c{n}"} for n in range(1, 256)], "255, but at most 254 can be told apart"),
        ([{"id": 2, "name": "car"}, {"id": 4, "name": "car"}], "names must be unique and printable"),
        ([{"id": 2, "name": "p\ud800"}, {"id": 4, "name": "car"}], "names must be unique and printable"),
        ([{"id": 2, "name": "a\nb"}, {"id": 4, "name": "car"}], "names must be unique and printable"),
    ],
)
def test_classes_that_cannot_be_told_apart_are_named(tmp_path, categories, message):
    with pytest.raises(DatasetError, match=rf"kins\.json: 'categories' .*{message}"):
        read(tmp_path, SECOND_RELEASE, lambda c: c.update(categories=categories))


def test_254_classes_of_any_id_are_scored(tmp_path):
    def change(content):
        content["categories"] = [{"id": n, "name": f"c{n}"} for n in range(300, 554)]
        for annotation in content["annotations"]:
            annotation["category_id"] = 553

    (sequence,) = read(tmp_path, SECOND_RELEASE, change)
    evaluator = Evaluator(sequence.classes, Rules())
    evaluator.add(scene_of(sequence), scene_of(sequence))
    assert evaluator.results()["instance"]["AP_A"] == 100
