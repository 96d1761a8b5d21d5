"""Other people's results for KINS, COCOA, COCOA-cls and D2SA, and files with a wrong value anywhere."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from test_datasets_coco_cls import D2SA
from test_datasets_coco_masks import JUNK
from test_datasets_cocoa import COCOA
from test_datasets_kins import FIRST_RELEASE, SECOND_RELEASE, scene_of

from amodal_perception_ros.datasets.coco.cocoa import read_cocoa
from amodal_perception_ros.datasets.coco.cocoa_cls import read_d2sa
from amodal_perception_ros.datasets.coco.kins import read_kins
from amodal_perception_ros.datasets.coco.results import CocoPredictions
from amodal_perception_ros.datasets.coco.scenes import CAMERA
from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.instance import AveragePrecision
from amodal_perception_ros.evaluation.metrics.invariants import InvariantViolations
from amodal_perception_ros.evaluation.metrics.order import OrderAccuracy
from amodal_perception_ros.evaluation.pairs import Rules, pair_scenes


def results(tmp_path, content, name="results.json"):
    path = tmp_path / name
    path.write_text(json.dumps(content))
    return path


def kins(tmp_path, text=FIRST_RELEASE):
    path = tmp_path / "instances_val.json"
    path.write_text(text)
    return read_kins(path, None, ("truth",))


LEFT = [[0, 1, 4, 1, 4, 5, 0, 5]]
RIGHT = {"size": [6, 12], "counts": [13, 4, 2, 4, 2, 4, 2, 4, 37]}
RIGHT_VISIBLE = {"size": [6, 12], "counts": "i0420S1"}


@pytest.mark.parametrize("key", ["visible_mask", "inmodal_seg", "i_segm", "visible_segmentation", "visible_segm"])
def test_a_list_of_results_is_matched_by_image_id(tmp_path, key):
    truth = kins(tmp_path)
    path = results(
        tmp_path,
        [
            {"image_id": 0, "category_id": 4, "segmentation": RIGHT, key: RIGHT_VISIBLE, "score": 0.25},
            {"image_id": 0, "category_id": 4, "segmentation": LEFT, key: LEFT, "score": 0.75},
            {"image_id": 99, "category_id": 4, "segmentation": LEFT, "score": 0.5},
            {"image_id": 99, "category_id": 4, "segmentation": LEFT, "score": 0.5},
        ],
    )
    predictions = CocoPredictions(path, truth)
    scene = predictions.read(truth[0][0]).cameras[CAMERA]
    assert [(i.instance_id, i.score) for i in scene.instances] == [(4001, 0.75), (4002, 0.25)]
    assert [(i.visible_mask.area, i.amodal_mask.area) for i in scene.instances] == [(16, 16), (8, 16)]
    assert scene.classes == truth[0].classes
    assert predictions.unknown.places == {"unknown_frame": ["image 99"]}
    assert predictions.read(truth[1][0]).cameras[CAMERA].instances == []
    assert predictions.repairs.places == {"images without results": ["results.json, image 3"]}
    decode(scene)


def test_the_results_of_aistron_have_names_of_their_own(tmp_path):
    truth = kins(tmp_path)
    item = {"image_id": 0, "category_id": 4, "bbox": [2, 1, 4, 4], "score": 0.5, "segmentation": LEFT}
    content = [{**item, "amodal_segm": RIGHT, "visible_segm": RIGHT_VISIBLE, "occluding_segm": LEFT}]
    (instance,) = CocoPredictions(results(tmp_path, content), truth).read(truth[0][0]).cameras[CAMERA].instances
    assert instance.amodal_mask.box == (2, 1, 6, 5)
    assert instance.visible_mask.box == (4, 1, 6, 5)


def write_pair(folder, amodal, visible):
    folder.mkdir(exist_ok=True)
    results(folder, amodal, "coco_instances_amodal_results.json")
    results(folder, visible, "coco_instances_visible_results.json")


def test_two_lists_of_amodal_and_visible_masks_are_joined_by_place(tmp_path):
    truth, folder = kins(tmp_path), tmp_path / "inference"
    first = {"image_id": 0, "category_id": 4, "bbox": [2, 1, 4, 4], "score": 0.5, "area": 0.5}
    second = {**first, "score": 0.25}
    amodal = [{**first, "segmentation": RIGHT}, {**second, "segmentation": LEFT}]
    visible = [{**first, "segmentation": RIGHT_VISIBLE}, {**second, "segmentation": LEFT}]
    write_pair(folder, amodal, visible)
    predictions = CocoPredictions(folder, truth)
    instances = predictions.read(truth[0][0]).cameras[CAMERA].instances
    assert [(i.visible_mask.area, i.amodal_mask.area) for i in instances] == [(8, 16), (16, 16)]
    assert dict(predictions.repairs) == {"images without results": 1}
    write_pair(folder, amodal, visible[:1])
    with pytest.raises(DatasetError, match=r"inference: coco_instances_amodal_results\.json has 2 results"):
        CocoPredictions(folder, truth)
    for other in (visible[::-1], [visible[0], 3]):
        write_pair(folder, amodal, other)
        with pytest.raises(
            DatasetError, match=r"inference: result [01] of coco_instances_visible_results\.json is not"
        ):
            CocoPredictions(folder, truth)
    with pytest.raises(DatasetError, match=r"coco_instances_amodal_results\.json: cannot be read"):
        CocoPredictions(tmp_path, truth)


def test_results_that_cannot_be_used_are_counted_with_their_place(tmp_path):
    truth = kins(tmp_path)
    item = {"image_id": 0, "category_id": 4, "segmentation": LEFT, "visible_mask": LEFT, "score": 0.5}
    content = [
        item,
        {**item, "score": float("nan")},
        {**item, "score": "0.5"},
        {**item, "score": True},
        {**item, "category_id": 3},
        {**item, "segmentation": [[1, 1, 1e9, 1, 4, 4]]},
        {"image_id": 0, "category_id": 4, "score": 0.5},
        {"image_id": 0, "category_id": 4, "segmentation": LEFT},
        {"image_id": 3, "category_id": 4, "segmentation": [], "score": 1},
        3,
        {"segmentation": LEFT},
    ]
    predictions = CocoPredictions(results(tmp_path, content), truth)
    scenes = [predictions.read(sequence[0]).cameras[CAMERA] for sequence in (*truth, truth[0])]
    assert [len(scene.instances) for scene in scenes] == [2, 0, 2]
    assert dict(predictions.repairs) == {
        "annotations with a score that is no number, left out": 3,
        "annotations with an unknown category, left out": 1,
        "annotations without an amodal mask, left out": 1,
        "annotations that are no JSON object, left out": 1,
        "annotations of images that the file does not list, left out": 1,
        "results without a score, taken as 1": 1,
        "results without a visible mask, taken as wholly visible": 2,
        "objects with a mask that cannot be decoded, left out": 1,
        "objects without a pixel in the image, left out": 1,
    }
    places = predictions.repairs.places
    assert places["annotations with an unknown category, left out"] == ["results.json, annotation at position 4"]
    assert places["results without a score, taken as 1"] == ["results.json, annotation at position 7"]


def test_a_truth_predicts_itself(tmp_path):
    for text, read in ((FIRST_RELEASE, read_kins), (SECOND_RELEASE, read_kins), (COCOA, read_cocoa)):
        path = results(tmp_path, json.loads(text))
        truth = read(path, None, ("truth",))
        predictions = CocoPredictions(path, truth)
        for sequence in truth:
            true, predicted = sequence[0].truth.cameras[CAMERA], predictions.read(sequence[0]).cameras[CAMERA]
            assert [i.instance_id for i in predicted.instances] == [i.instance_id for i in true.instances]
            assert [i.visible_mask for i in predicted.instances] == [i.visible_mask for i in true.instances]
            assert [i.amodal_mask for i in predicted.instances] == [i.amodal_mask for i in true.instances]
            assert [i.occlusion_level for i in predicted.instances] == [i.occlusion_level for i in true.instances]
            if "levels" not in truth[0].missing:
                np.testing.assert_array_equal(predicted.order.occluder_ids, true.order.occluder_ids)
                np.testing.assert_array_equal(predicted.order.occludee_ids, true.order.occludee_ids)


def test_every_result_for_cocoa_is_of_its_only_class(tmp_path):
    truth = read_cocoa(results(tmp_path, json.loads(COCOA), "truth.json"), None, ("truth",))
    content = [
        {"image_id": 42, "category_id": 17, "segmentation": LEFT, "score": 0.5},
        {"image_id": 42, "segmentation": LEFT, "score": 0.9},
    ]
    predictions = CocoPredictions(results(tmp_path, content), truth)
    scene = predictions.read(truth[0][0]).cameras[CAMERA]
    assert [(i.instance_id, i.class_id, i.score) for i in scene.instances] == [(1001, 1, 0.9), (1002, 1, 0.5)]


def test_results_with_the_regions_of_cocoa_keep_scores_and_order(tmp_path):
    content = json.loads(COCOA)
    truth = read_cocoa(results(tmp_path, content, "truth.json"), None, ("truth",))
    annotation = content["annotations"][0]
    for region, score in zip(annotation["regions"], (0.5, 0.25, 0.75)):
        region["score"] = score
    predictions = CocoPredictions(results(tmp_path, [annotation]), truth)
    scene = predictions.read(truth[0][0]).cameras[CAMERA]
    assert [i.score for i in scene.instances] == [0.75, 0.5, 0.25]
    assert set(zip(scene.order.occluder_ids, scene.order.occludee_ids)) == {(1002, 1003), (1002, 1001), (1003, 1001)}


def ellipse(rng, height=60, width=90):
    x, y, a, b = rng.integers(8, 82), rng.integers(8, 52), rng.integers(4, 30), rng.integers(4, 20)
    rows, columns = np.mgrid[:height, :width]
    return ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 < 1


def encoded(mask):
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def random_files():
    """Return annotations in KINS' form of 12 images of overlapping ellipses, and shifted ones as results."""
    rng, annotations, found = np.random.default_rng(3), [], []
    for image_id in range(12):
        free = np.ones((60, 90), bool)
        for _ in range(5):
            amodal = ellipse(rng)
            visible, category_id = amodal & free, int(rng.integers(1, 4))
            free &= ~amodal
            if not visible.any():
                continue
            keys = {"image_id": image_id, "category_id": category_id}
            masks = {"segmentation": encoded(amodal), "inmodal_seg": encoded(visible)}
            annotations.append({**keys, **masks, "id": len(annotations) + 1, "iscrowd": 0})
            for shift in rng.integers(-3, 4, rng.integers(0, 3)):
                seen = np.roll(visible, shift, 1)
                masks = {"segmentation": encoded(np.roll(amodal, shift, 1)), "inmodal_seg": encoded(seen)}
                found.append({**keys, **masks, "score": float(rng.random())})
    images = [{"id": id_, "file_name": f"{id_:06d}.png", "width": 90, "height": 60} for id_ in range(12)]
    categories = [{"id": id_, "name": str(id_)} for id_ in (1, 2, 3)]
    return {"images": images, "categories": categories, "annotations": annotations}, found


def coco_average_precision(content, found, key):
    """Return COCO's AP [%] of the masks under a key, over all sizes of objects."""

    def under_key(entries):
        return [{**entry, "segmentation": entry[key], "area": float(coco_mask.area(entry[key]))} for entry in entries]

    truth = COCO()
    truth.dataset = {**content, "annotations": under_key(content["annotations"])}
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(under_key(found)), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return 100.0 * evaluation.stats[0]


def test_average_precision_of_two_files_is_that_of_the_coco_api(tmp_path):
    content, found = random_files()
    truth = read_kins(results(tmp_path, content, "truth.json"), None, ("truth",))
    predictions = CocoPredictions(results(tmp_path, found), truth)
    metric = AveragePrecision(truth[0].classes)
    for sequence in truth:
        sample = sequence[0]
        true, predicted = sample.truth.cameras[CAMERA], predictions.read(sample).cameras[CAMERA]
        metric.add(pair_scenes(decode(true), decode(predicted), Rules()))
    figures = metric.results()
    assert 10 < figures["AP_A"] < 90
    assert figures["AP_A"] == pytest.approx(coco_average_precision(content, found, "segmentation"), abs=1e-6)
    assert figures["AP_V"] == pytest.approx(coco_average_precision(content, found, "inmodal_seg"), abs=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "neither a list of results nor"),
        (7, "neither a list of results nor"),
        ([{"category_id": 4}], "no entry of 'results' has 'image_id'"),
        ([{"image_id": 0}], "no entry of 'annotations' has 'category_id'"),
        ([{"image_id": 0, "category_id": 4, "bbox": [0, 0, 1, 1]}], "no entry of 'annotations' has 'amodal_segm' or"),
    ],
)
def test_files_without_results_are_refused(tmp_path, content, message):
    truth = kins(tmp_path)
    with pytest.raises(DatasetError, match=rf"results\.json: {message}"):
        CocoPredictions(results(tmp_path, content), truth)


def test_results_need_a_truth_with_image_ids(tmp_path):
    path = results(tmp_path, [])
    with pytest.raises(DatasetError, match="needs a truth whose images have ids"):
        CocoPredictions(path, [])
    truth = kins(tmp_path)
    predictions = CocoPredictions(path, truth)
    assert predictions.repairs["images without results"] == 2
    sample = truth[0][0]
    sample.sequence = "elsewhere"
    with pytest.raises(DatasetError, match="has no image 'elsewhere'"):
        predictions.read(sample)


def paths_into(value, path=()):
    """Yield the keys that lead to every value of some JSON content."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_into(inner, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


FORMS = {text: (json.loads(text), read) for text, read in
         ((FIRST_RELEASE, read_kins), (SECOND_RELEASE, read_kins), (COCOA, read_cocoa), (D2SA, read_d2sa))}  # fmt: skip
PLACES = [(text, path) for text, (content, _) in FORMS.items() for path in paths_into(content)]
VALUES = JUNK | st.sampled_from(
    [0, -1, 2**31, 10**400, 1e300, float("nan"), float("inf"), "\0", "7", [[]], [{}], [[1e9] * 6]]
)


def scenes_of(path, read, truth):
    """Decode every scene of a file, as truth and as predictions for a truth; returns the messages of errors."""
    messages = []
    try:
        for sequence in read(path, None, ("truth",)):
            decode(scene_of(sequence))
    except DatasetError as error:
        messages.append(str(error))
    try:
        predictions = CocoPredictions(path, truth)
        for sequence in truth:
            decode(predictions.read(sequence[0]).cameras[CAMERA])
    except DatasetError as error:
        messages.append(str(error))
    return messages


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), VALUES)
def test_one_wrong_value_anywhere_gives_a_scene_or_a_named_error(tmp_path, place, value):
    text, path = place
    content, read = FORMS[text]
    truth = read(results(tmp_path, content, "truth.json"), None, ("truth",))
    changed = results(tmp_path, replaced(content, path, value), "changed.json")
    for message in scenes_of(changed, read, truth):
        assert "changed.json" in message
        assert "\n" not in message


def scored(truth, predictions):
    """Return average precision and order of predictions."""
    precision, order = AveragePrecision(truth[0].classes), OrderAccuracy()
    for sequence in truth:
        sample = sequence[0]
        true, predicted = sample.truth.cameras[CAMERA], predictions.read(sample).cameras[CAMERA]
        pair = pair_scenes(decode(true), decode(predicted), Rules())
        precision.add(pair)
        order.add(pair)
    return precision.results(), order.results()


def test_amodal_masks_of_results_are_scored_as_they_are(tmp_path):
    """A true car of 4 x 5 px, seen in the right half; the amodal mask of the result is its left half: IoU 0.5."""

    def box(left, right):
        mask = np.zeros((6, 12), bool)
        mask[0:5, left:right] = True
        return encoded(mask)

    content = json.loads(FIRST_RELEASE)
    keys = {"image_id": 0, "category_id": 4}
    content["annotations"] = [{**keys, "id": 1, "iscrowd": 0, "segmentation": box(0, 4), "inmodal_seg": box(2, 4)}]
    found = [{**keys, "segmentation": box(0, 2), "inmodal_seg": box(2, 4), "score": 0.5}]
    truth = kins(tmp_path, json.dumps(content))
    predictions = CocoPredictions(results(tmp_path, found), truth)
    figures, _ = scored(truth, predictions)
    assert figures["AP_A"] == pytest.approx(10)
    assert figures["AP_A"] == pytest.approx(coco_average_precision(content, found, "segmentation"), abs=1e-6)
    assert predictions.repairs["visible or hidden masks that leave the amodal mask, cut"] == 1


def test_results_of_one_of_two_files_with_the_same_image_ids_are_refused(tmp_path):
    content = json.loads(FIRST_RELEASE)
    for image in content["images"]:
        image["file_name"] = f"other_{image['file_name']}"
    truth = kins(tmp_path) + read_kins(results(tmp_path, content, "other.json"), None, ("truth",))
    item = {"image_id": 3, "category_id": 4, "segmentation": LEFT, "score": 0.5}
    with pytest.raises(DatasetError, match=r"results\.json: results for image 3, of which the data hold 2"):
        CocoPredictions(results(tmp_path, [item]), truth)


def test_a_single_class_is_still_a_class(tmp_path):
    content = json.loads(FIRST_RELEASE)
    content["categories"] = content["categories"][1:]
    truth = kins(tmp_path, json.dumps(content))
    item = {"image_id": 0, "category_id": 1, "segmentation": LEFT, "score": 0.5}
    predictions = CocoPredictions(results(tmp_path, [item]), truth)
    assert predictions.read(truth[0][0]).cameras[CAMERA].instances == []
    assert predictions.repairs["annotations with an unknown category, left out"] == 1


def test_ids_of_a_list_of_results_mean_nothing(tmp_path):
    truth = kins(tmp_path)
    item = {"id": 0, "category_id": 4, "segmentation": LEFT, "visible_mask": LEFT, "score": 0.5}
    predictions = CocoPredictions(results(tmp_path, [{**item, "image_id": 0}, {**item, "image_id": 3}]), truth)
    assert [len(predictions.read(sequence[0]).cameras[CAMERA].instances) for sequence in truth] == [1, 1]
    assert not predictions.repairs


def test_results_without_an_order_have_that_of_their_masks(tmp_path):
    """The visible part of one lies where the other one is hidden. The masks of the truth are a perfect answer."""
    truth = kins(tmp_path, SECOND_RELEASE)
    found = [
        {"image_id": 7, "category_id": a["category_id"], "segmentation": a["a_segm"], "visible_mask": a["i_segm"]}
        for a in json.loads(SECOND_RELEASE)["annotations"]
    ]
    predictions = CocoPredictions(results(tmp_path, found), truth)
    scene = predictions.read(truth[0][0]).cameras[CAMERA]
    edges = zip(scene.order.occluder_ids, scene.order.occludee_ids, scene.order.overlap_px)
    assert set(edges) == {(2001, 4001, 8), (4001, 4002, 8)}
    _, order = scored(truth, predictions)
    assert (order["accuracy"], order["recall"], order["precision"], order["level_accuracy"]) == (100, 100, 100, 100)
    invariants = InvariantViolations()
    invariants.add(decode(scene))
    assert invariants.results()["violations"] == 0
