"""COCOA-cls and D2S amodal, which share one file form, and results for them and for COCOA and KINS."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from amodal_perception_ros.datasets.coco.cocoa import holds_cocoa
from amodal_perception_ros.datasets.coco.cocoa_cls import holds_cocoa_cls, holds_d2sa, read_cocoa_cls, read_d2sa
from amodal_perception_ros.datasets.coco.kins import holds_kins
from amodal_perception_ros.datasets.coco.scenes import CAMERA
from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.evaluation.decoding import decode

COCOA_CLS = """{
  "info": {}, "licenses": [],
  "images": [{"id": 5, "file_name": "COCO_val2014_000000000005.jpg", "width": 12, "height": 6}],
  "categories": [{"id": 1, "name": "person", "supercategory": "person"}, {"id": 90, "name": "toothbrush"}],
  "annotations": [
    {"id": 1, "image_id": 5, "category_id": 1, "iscrowd": 0, "area": 16, "bbox": [0, 1, 4, 4], "occlude_rate": 0,
     "segmentation": {"size": [6, 12], "counts": "14200000_1"}},
    {"id": 2, "image_id": 5, "category_id": 90, "iscrowd": 0, "area": 24, "bbox": [2, 1, 6, 4], "occlude_rate": 0.33,
     "segmentation": {"size": [6, 12], "counts": [13, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 25]},
     "visible_mask": {"size": [6, 12], "counts": "i04200000g0"},
     "invisible_mask": {"size": [6, 12], "counts": [13, 4, 2, 4, 49]}}
  ]}"""
"""A person of 4 x 4 pixels hides two of the six columns of a toothbrush of 6 x 4."""

D2SA = """{
  "info": {}, "licenses": [],
  "images": [{"id": 5300, "file_name": "D2S_005300.jpg", "width": 12, "height": 6}],
  "categories": [{"id": 1, "name": "adelholzener", "supercategory": "bottle"},
                 {"id": 19, "name": "avocado", "supercategory": "fruit"}],
  "annotations": [
    {"id": 115, "image_id": 5300, "category_id": 1, "iscrowd": false, "area": 16.0, "bbox": [0, 1, 4, 4],
     "occlude_rate": 0.0, "occl_depth": 0,
     "segmentation": {"size": [6, 12], "counts": "14200000_1"},
     "visible_mask": {"size": [6, 12], "counts": "14200000_1"},
     "amodal_region": {"name": "adelholzener_1", "area": 16.0, "isStuff": 0, "bbox": [0, 1, 4, 4], "order": 1},
     "amodal_base": {"url": "", "image_id": 5300, "size": 2, "author": "MVTec", "depth_constraint": ""}},
    {"id": 116, "image_id": 5300, "category_id": 19, "iscrowd": false, "area": 24.0, "bbox": [2, 1, 6, 4],
     "occlude_rate": 0.333333, "occl_depth": 1,
     "segmentation": {"size": [6, 12], "counts": "=42000000000g0"},
     "visible_mask": {"size": [6, 12], "counts": "i04200000g0"},
     "invisible_mask": {"size": [6, 12], "counts": "=420_1"},
     "amodal_region": {"name": "avocado_1", "area": 24.0, "isStuff": 0, "bbox": [2, 1, 6, 4], "order": 2},
     "amodal_base": {"url": "", "image_id": 5300, "size": 2, "author": "MVTec", "depth_constraint": ""}}
  ]}"""
"""The same masks in the keys of D2S amodal, which gives the visible mask of every object."""


def write(tmp_path, text, change=None, name="annotations.json"):
    content = json.loads(text)
    if change:
        change(content)
    path = tmp_path / name
    path.write_text(json.dumps(content))
    return path


def scene_of(sequence):
    return sequence[0].truth.cameras[CAMERA]


def test_objects_without_a_visible_mask_are_wholly_visible(tmp_path):
    path = write(tmp_path, COCOA_CLS)
    (sequence,) = read_cocoa_cls(path, None, ("truth",))
    assert [(label.id, label.name) for label in sequence.classes.labels] == [(1, "person"), (90, "toothbrush")]
    scene = scene_of(sequence)
    assert [i.instance_id for i in scene.instances] == [1001, 90001]
    assert [(i.visible_mask.area, i.amodal_mask.area) for i in scene.instances] == [(16, 16), (16, 24)]
    assert [i.occlusion_level for i in scene.instances] == [0, 1]
    assert not sequence.repairs
    decode(scene)


def test_the_hidden_mask_stands_in_for_the_visible_one(tmp_path):
    path = write(tmp_path, COCOA_CLS, lambda c: c["annotations"][1].pop("visible_mask"))
    (sequence,) = read_cocoa_cls(path, None, ("truth",))
    assert scene_of(sequence).instances[1].visible_mask.box == (4, 1, 8, 5)
    assert not sequence.repairs


def test_files_of_the_common_form_are_told_apart_by_the_names_of_their_images(tmp_path):
    cocoa, d2sa = write(tmp_path, COCOA_CLS), write(tmp_path, D2SA, name="d2sa.json")
    assert (holds_cocoa_cls(cocoa), holds_d2sa(cocoa)) == (True, False)
    assert (holds_cocoa_cls(d2sa), holds_d2sa(d2sa)) == (False, True)
    assert not any(holds(path) for holds in (holds_kins, holds_cocoa) for path in (cocoa, d2sa))
    assert read_d2sa(d2sa, None, ("truth",))[0].classes.name == "D2SA"


def test_the_keys_of_d2sa_give_the_same_masks(tmp_path):
    (sequence,) = read_d2sa(write(tmp_path, D2SA), None, ("truth",))
    scene = scene_of(sequence)
    assert [i.instance_id for i in scene.instances] == [1001, 19001]
    assert [(i.visible_mask.box, i.amodal_mask.box) for i in scene.instances] == [
        ((0, 1, 4, 5), (0, 1, 4, 5)),
        ((4, 1, 8, 5), (2, 1, 8, 5)),
    ]
    assert len(scene.order) == 0
    assert not sequence.repairs
    decode(scene)


def padded(content):
    """Let the image be 8 columns wide and 4 rows high, its masks still those of the padded one of 12 x 6."""
    content["images"][0].update(width=8, height=4)


def test_masks_of_d2sa_may_leave_the_image(tmp_path):
    (sequence,) = read_d2sa(write(tmp_path, D2SA, padded), None, ("truth",))
    scene = scene_of(sequence)
    person, avocado = scene.instances
    assert (person.amodal_mask.area, person.amodal_mask.box) == (16, (0, 1, 4, 5))
    assert person.occlusion_level == 0, "what lies outside the image is cut off, not hidden"
    assert avocado.occlusion_level == 1
    assert decode(scene).amodal_px.tolist() == [12, 18]
    assert dict(sequence.repairs) == {}


def test_masks_of_another_size_are_left_out_elsewhere(tmp_path):
    (sequence,) = read_cocoa_cls(write(tmp_path, COCOA_CLS, padded), None, ("truth",))
    assert scene_of(sequence).instances == []
    cause = "objects with a mask that cannot be decoded, left out"
    assert dict(sequence.repairs) == {cause: 2}
    assert sequence.repairs.places[cause][0] == (
        "annotations.json, annotation 1: for an image of 6 rows and 12 columns instead of 4 and 8"
    )


def test_masks_smaller_than_the_image_are_left_out(tmp_path):
    path = write(tmp_path, D2SA, lambda c: c["images"][0].update(width=13))
    (sequence,) = read_d2sa(path, None, ("truth",))
    assert scene_of(sequence).instances == []


def test_objects_that_do_not_fit_the_numbers_of_a_class_are_counted(tmp_path):
    def change(content):
        content["annotations"] = [{**content["annotations"][0], "id": i} for i in range(1001)]

    (sequence,) = read_cocoa_cls(write(tmp_path, COCOA_CLS, change), None, ("truth",))
    scene = scene_of(sequence)
    assert len(scene.instances) == 999
    assert dict(sequence.repairs) == {"objects beyond the 999 best of a class in one image, left out": 2}
    decode(scene)


def test_a_sequence_travels_to_another_process(tmp_path):
    (sequence,) = read_cocoa_cls(write(tmp_path, COCOA_CLS), None, ("truth",))
    copy = pickle.loads(pickle.dumps(sequence))
    assert [i.amodal_mask for i in scene_of(copy).instances] == [i.amodal_mask for i in scene_of(sequence).instances]


def test_only_the_parts_asked_for_are_read(tmp_path):
    (sequence,) = read_cocoa_cls(write(tmp_path, COCOA_CLS), None, ())
    assert sequence[0].truth.cameras == {}
    assert sequence[0].frame.images == {}
    with pytest.raises(IndexError):
        sequence[1]


def test_pictures_are_read_from_the_folder_given(tmp_path):
    (tmp_path / "pictures").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (6, 12, 3), np.uint8)
    path = write(tmp_path, COCOA_CLS, lambda c: c["images"][0].update(file_name="val2014/5.png"))
    (sequence,) = read_cocoa_cls(path, tmp_path / "pictures", ("images", "truth"))
    with pytest.raises(DatasetError, match=r"val2014/5\.png: no such picture"):
        sequence[0]
    Image.fromarray(picture).save(tmp_path / "pictures" / "5.png")
    np.testing.assert_array_equal(sequence[0].frame.images[CAMERA], picture)
    Image.fromarray(picture[:4, :8]).save(tmp_path / "pictures" / "5.png")
    image = sequence[0].frame.images[CAMERA]
    np.testing.assert_array_equal(image[:4, :8], picture[:4, :8])
    assert image[4:].max() == image[:, 8:].max() == 0
    Image.fromarray(np.zeros((7, 12, 3), np.uint8)).save(tmp_path / "pictures" / "5.png")
    with pytest.raises(DatasetError, match=r"12 x 7 pixels, but annotated are 12 x 6"):
        sequence[0]
