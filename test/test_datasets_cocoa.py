"""COCOA: regions with visible masks and depth order, read from small files in the published form."""

import json

import pytest

from amodal_perception_ros.datasets.coco.cocoa import holds_cocoa, read_cocoa
from amodal_perception_ros.datasets.coco.cocoa_cls import holds_cocoa_cls, holds_d2sa
from amodal_perception_ros.datasets.coco.kins import holds_kins
from amodal_perception_ros.datasets.coco.scenes import CAMERA
from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.evaluation.decoding import decode

COCOA = """{
  "info": {}, "licenses": [],
  "images": [{"id": 42, "file_name": "COCO_val2014_000000000042.jpg", "width": 12, "height": 6, "license": 3,
              "coco_url": "http://mscoco.org/images/42", "date_captured": "2013-11-18 09:30:00", "flickr_url": ""}],
  "annotations": [
    {"id": 1, "image_id": 42, "author": "ybao", "url": "https://example.org/COCO_val2014_000000000042.jpg", "size": 3,
     "depth_constraint": "1-2,1-3,2-3",
     "regions": [
       {"name": "dog", "order": 1, "isStuff": 0, "occlude_rate": 0.0, "area": 16.0,
        "segmentation": [0, 1, 4, 1, 4, 5, 0, 5]},
       {"name": "sofa", "order": 2, "isStuff": 0, "occlude_rate": 0.3333, "area": 24.0,
        "segmentation": [2, 1, 8, 1, 8, 5, 2, 5],
        "visible_mask": {"size": [6, 12], "counts": "i04200000g0"},
        "invisible_mask": {"size": [6, 12], "counts": [13, 4, 2, 4, 49]}},
       {"name": "floor", "order": 3, "isStuff": 1, "occlude_rate": 0.3333, "area": 36.0,
        "segmentation": [0, 3, 12, 3, 12, 6, 0, 6],
        "invisible_mask": {"size": [6, 12], "counts": [3, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 25]}}
     ]}
  ]}"""
"""A dog (1) before a sofa (2), both before the floor (3).

    .  .  .  .  .  .  .  .  .  .  .  .
    1  1  1  1  2  2  2  2  .  .  .  .
    1  1  1  1  2  2  2  2  .  .  .  .     3h: hidden floor, below 1 and 2
    1  1  1  1  2  2  2  2  3  3  3  3     the sofa goes on for two columns behind the dog
    1  1  1  1  2  2  2  2  3  3  3  3
    3  3  3  3  3  3  3  3  3  3  3  3
"""


def read(tmp_path, change=None):
    content = json.loads(COCOA)
    if change:
        change(content)
    path = tmp_path / "COCO_amodal_val2014.json"
    path.write_text(json.dumps(content))
    return read_cocoa(path, None, ("truth",))


def regions(content):
    return content["annotations"][0]["regions"]


def scene_of(sequence):
    return sequence[0].truth.cameras[CAMERA]


def edges(scene):
    return set(zip(scene.order.occluder_ids, scene.order.occludee_ids, scene.order.overlap_px))


def test_every_region_is_an_instance_of_one_class(tmp_path):
    (sequence,) = read(tmp_path)
    path = tmp_path / "COCO_amodal_val2014.json"
    assert holds_cocoa(path)
    assert not any(holds(path) for holds in (holds_kins, holds_cocoa_cls, holds_d2sa))
    assert sequence.name == "COCO_val2014_000000000042"
    assert [(label.id, label.name) for label in sequence.classes.labels] == [(1, "region")]
    scene = scene_of(sequence)
    assert [i.instance_id for i in scene.instances] == [1001, 1002, 1003]
    assert [(i.visible_mask.area, i.amodal_mask.area) for i in scene.instances] == [(16, 16), (16, 24), (20, 36)]
    assert scene.instances[1].visible_mask.box == (4, 1, 8, 5)
    assert not sequence.repairs
    decode(scene)


def test_the_depth_constraint_gives_the_order_of_overlapping_regions(tmp_path):
    (sequence,) = read(tmp_path)
    scene = scene_of(sequence)
    assert edges(scene) == {(1001, 1002, 8), (1001, 1003, 8), (1002, 1003, 12)}
    assert [i.occlusion_level for i in scene.instances] == [0, 1, 2]


def test_pairs_without_overlap_say_nothing_about_occlusion(tmp_path):
    (sequence,) = read(
        tmp_path, lambda c: regions(c)[2].update(segmentation=[10, 3, 12, 3, 12, 6, 10, 6], invisible_mask=None)
    )
    assert edges(scene_of(sequence)) == {(1001, 1002, 8)}
    assert not sequence.repairs


def test_orders_in_a_cycle_are_left_out(tmp_path):
    def change(content):
        content["annotations"][0]["depth_constraint"] = "1-2,2-3,3-1"
        # The floor hides a pixel of the dog.
        regions(content)[0]["invisible_mask"] = {"size": [6, 12], "counts": [3, 1, 68]}

    (sequence,) = read(tmp_path, change)
    scene = scene_of(sequence)
    assert len(scene.order) == 0
    assert dict(sequence.repairs) == {"occlusion orders that form a cycle, left out": 3}
    assert sequence.repairs.places["occlusion orders that form a cycle, left out"][0] == (
        "COCO_amodal_val2014.json, image 42, region 1, in front of region 2"
    )
    assert [i.occlusion_level for i in scene.instances] == [1, 1, 1]


def test_orders_onto_what_is_seen_whole_contradict_the_masks(tmp_path):
    (sequence,) = read(tmp_path, lambda c: c["annotations"][0].update(depth_constraint="2-1,1-3,2-3"))
    scene = scene_of(sequence)
    assert edges(scene) == {(1001, 1003, 8), (1002, 1003, 12)}
    cause = "occlusion orders onto objects without a hidden pixel, left out"
    assert sequence.repairs.places == {cause: ["COCO_amodal_val2014.json, image 42, region 2, in front of region 1"]}
    # The sofa is occluded, though no order is left that says by what.
    assert [i.occlusion_level for i in scene.instances] == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "count", "left"),
    [
        ("", 0, 0),
        (None, 0, 0),
        ("1-2", 0, 1),
        (" 1 - 2 , 1-2", 0, 1),
        ("1-9,0-1,1-1,1,x-2,1-2", 5, 1),
        ("1-" + 5000 * "2", 1, 0),
        (12, 1, 0),
    ],
)
def test_orders_of_unknown_regions_are_left_out(tmp_path, text, count, left):
    (sequence,) = read(tmp_path, lambda c: c["annotations"][0].update(depth_constraint=text))
    assert len(scene_of(sequence).order) == left
    assert sequence.repairs["occlusion orders of unknown regions, left out"] == count


def test_numbers_count_regions_that_are_left_out(tmp_path):
    (sequence,) = read(tmp_path, lambda c: regions(c)[0].update(segmentation=[]))
    scene = scene_of(sequence)
    assert [i.amodal_mask.area for i in scene.instances] == [24, 36]
    assert edges(scene) == {(1001, 1002, 12)}
    assert sequence.repairs.places == {
        "objects without a pixel in the image, left out": ["COCO_amodal_val2014.json, image 42, region 1"]
    }


def test_several_polygons_and_run_lengths_are_amodal_masks_too(tmp_path):
    def change(content):
        regions(content)[0]["segmentation"] = [[0, 1, 2, 1, 2, 5, 0, 5], [2, 1, 4, 1, 4, 5, 2, 5]]
        regions(content)[1]["segmentation"] = {"size": [6, 12], "counts": [13, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 25]}

    (sequence,) = read(tmp_path, change)
    assert [i.amodal_mask.area for i in scene_of(sequence).instances] == [16, 24, 36]
    assert not sequence.repairs


def test_a_further_annotation_of_an_image_is_left_out(tmp_path):
    def change(content):
        content["annotations"] += [
            {**content["annotations"][0], "id": 2},
            {"image_id": 9, "regions": []},
            {"regions": []},
            3,
        ]
        content["annotations"].append({"image_id": 42, "regions": 5})

    (sequence,) = read(tmp_path, change)
    assert len(scene_of(sequence).instances) == 3
    assert dict(sequence.repairs) == {
        "further annotations of an image, left out": 1,
        "annotations of images that the file does not list, left out": 3,
        "annotations without a list of regions, left out": 1,
    }


def test_regions_without_a_mask_are_counted(tmp_path):
    def change(content):
        regions(content)[0].pop("segmentation")
        regions(content)[1] = "sofa"

    (sequence,) = read(tmp_path, change)
    assert len(scene_of(sequence).instances) == 1
    assert dict(sequence.repairs) == {
        "annotations without an amodal mask, left out": 1,
        "annotations that are no JSON object, left out": 1,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), "no list 'images'"),
        (lambda c: c["annotations"][0].pop("regions"), "no entry of 'annotations' has 'regions'"),
        (lambda c: [r.pop("segmentation") for r in regions(c)], "no entry of 'regions' has 'amodal_segm' or"),
    ],
)
def test_errors_of_the_whole_file_name_file_and_key(tmp_path, change, message):
    with pytest.raises(DatasetError, match=message) as error:
        read(tmp_path, change)
    assert "COCO_amodal_val2014.json" in str(error.value)


def test_hidden_masks_are_looked_at_beside_visible_ones(tmp_path):
    """The hidden mask of the sofa reaches into its visible part, that of the dog beyond its outline."""

    def change(content):
        regions(content)[0]["visible_mask"] = {"size": [6, 12], "counts": [1, 4, 2, 4, 2, 4, 2, 4, 49]}
        regions(content)[0]["invisible_mask"] = {"size": [6, 12], "counts": [66, 1, 5]}
        regions(content)[1]["invisible_mask"] = {"size": [6, 12], "counts": [13, 4, 2, 4, 2, 4, 43]}

    (sequence,) = read(tmp_path, change)
    dog, sofa, _ = scene_of(sequence).instances
    assert (dog.visible_mask.area, dog.amodal_mask.area, sofa.visible_mask.area, sofa.amodal_mask.area) == (
        16,
        17,
        16,
        24,
    )
    assert sequence.repairs == {
        "amodal masks without part of the visible or hidden mask, joined": 1,
        "hidden masks that reach into the visible mask, cut": 1,
    }
