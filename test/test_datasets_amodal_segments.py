"""Amodal panoptic labels of one image by hand: the published form and every kind of contradiction."""

import json
import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panoptic_files import CAR, ENTRIES, HIDDEN, PERSON, PIXELS, changed, painted, write, write_png
from pycocotools import mask as coco_mask

from amodal_perception_ros.datasets.amodal_segments import SegmentReader, read_levels
from amodal_perception_ros.datasets.amodal_synth_drive import read_sequence
from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE


def read(root, image="a", mistaken=None, predicted=False, shape=(4, 6)):
    repairs = CauseCount()
    reader = SegmentReader(AMODAL_SYNTH_DRIVE, repairs, predicted=predicted)
    files = (root / f"{image}_ampano.png", root / f"{image}_ampano.json")
    return reader.read(*files, shape, mistaken), repairs


def rows(mask):
    return ["".join(".#"[v] for v in row) for row in mask.to_array(4, 6).astype(int)]


def test_labels_in_the_published_form(tmp_path):
    write(tmp_path, "a")
    image, repairs = read(tmp_path)
    assert image.labels.tolist() == [[v * 1000 if v < 1000 else v for v in row] for row in PIXELS]
    car, person = image.segments
    assert (car.id, person.id) == (26001, 24001)
    assert rows(car.visible) == ["......", ".##.#.", ".##.#.", "......"]
    assert rows(car.amodal) == ["......", ".####.", ".####.", "......"]
    assert rows(person.visible) == rows(person.amodal) == ["......", "...#..", "...#..", "...#.."]
    assert (car.instance(3).track_id, car.instance(3).occlusion_level) == (4, 3)
    assert (person.instance(0).score, person.instance(0).occlusion_level) == (1.0, 0)
    assert not repairs


def test_compressed_and_empty_run_lengths(tmp_path):
    compressed = coco_mask.encode(
        np.asfortranarray(
            np.array([[c == "#" for c in row] for row in ["......", ".####.", ".####.", "......"]], np.uint8)
        )
    )
    mask = {"size": [4, 6], "counts": compressed["counts"].decode()}
    write(tmp_path, "a", entries=changed(_26001={"amodal_mask": mask}))
    image, repairs = read(tmp_path)
    assert rows(image.segments[0].amodal)[1] == ".####."
    assert not repairs
    # The published empty mask: one run of 1080 * 1920 zeros.
    assert coco_mask.area({"size": [1080, 1920], "counts": "PPYo1"}) == 0
    labels = np.full((1080, 1920), 7)
    labels[0, 0] = 26001
    empty = {"size": [1080, 1920], "counts": "PPYo1"}
    entries = {
        "26001": {"occluded": False, "occlusion_mask": empty, "amodal_mask": empty, "category_id": 26, "track_id": 1},
        "26002": {"occluded": True, "occlusion_mask": empty, "amodal_mask": empty, "category_id": 26, "track_id": 2},
    }
    write(tmp_path, "b", labels, entries)
    repairs = CauseCount()
    reader = SegmentReader(AMODAL_SYNTH_DRIVE, repairs)
    image = reader.read(tmp_path / "b_ampano.png", tmp_path / "b_ampano.json")
    assert [(s.id, s.visible.area, s.amodal.area) for s in image.segments] == [(26001, 1, 1)]
    assert repairs == {"segments without a pixel, dropped": 1}
    assert repairs.places["segments without a pixel, dropped"] == [f"{tmp_path / 'b_ampano.json'}: segment 26002"]


CONTRADICTIONS = {
    # what is wrong: pixels, entries, kept segments (id, visible, amodal pixels), cause
    "thing under an id of stuff": (
        painted(_26001=21001),
        {**changed(_26001=None), "21001": {**ENTRIES["26001"], "category_id": 26}},
        [(26001, 6, 8), (24001, 3, 3)],
        "segments whose id or category is no thing, given the class of the other",
    ),
    "category of stuff for a thing": (
        PIXELS,
        changed(_26001={"category_id": 11}),
        [(26001, 6, 8), (24001, 3, 3)],
        "segments whose id or category is no thing, given the class of the other",
    ),
    "two things": (
        PIXELS,
        changed(_26001={"category_id": 27}),
        [(24001, 3, 3)],
        "segments whose id and category name two things, dropped",
    ),
    "no thing": (
        PIXELS,
        {**ENTRIES, "21005": {**ENTRIES["24001"], "category_id": 21}},
        [(26001, 6, 8), (24001, 3, 3)],
        "segments that are no thing, dropped",
    ),
    "not in the PNG": (
        PIXELS,
        {**ENTRIES, "26002": {"occluded": True, "occlusion_mask": HIDDEN, "amodal_mask": CAR, "category_id": 26}},
        [(26001, 6, 8), (24001, 3, 3)],
        "segments of the JSON without a pixel in the PNG and not fully occluded, dropped",
    ),
    "amodal mask without all that is visible": (
        PIXELS,
        changed(_26001={"amodal_mask": {"size": [4, 6], "counts": [5, 2, 2, 2, 2, 2, 9]}}),
        [(26001, 6, 8), (24001, 3, 3)],
        "amodal masks without part of the visible mask, joined",
    ),
    "visible and occluded": (
        PIXELS,
        changed(_26001={"occlusion_mask": CAR}),
        [(26001, 6, 8), (24001, 3, 3)],
        "occlusion masks that reach into the visible part, cut",
    ),
    "hidden but not occluded": (
        PIXELS,
        changed(_26001={"occlusion_mask": {"size": [4, 6], "counts": [13, 1, 10]}}),
        [(26001, 6, 8), (24001, 3, 3)],
        "occlusion masks that are not what the amodal mask hides, replaced by that",
    ),
    "flag": (
        PIXELS,
        changed(_24001={"occluded": True}),
        [(26001, 6, 8), (24001, 3, 3)],
        "occluded flags that contradict the masks, corrected",
    ),
    "no amodal mask at all": (
        PIXELS,
        changed(_26001=None),
        [(24001, 3, 3)],
        "visible things without an amodal mask, read as unlabelled",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_mended_or_dropped_and_named(tmp_path, name):
    pixels, entries, kept, cause = CONTRADICTIONS[name]
    write(tmp_path, "a", pixels, entries)
    image, repairs = read(tmp_path)
    found = {s.id: (s.id, s.visible.area, s.amodal.area) for s in image.segments}
    assert found == {segment[0]: segment for segment in kept}
    assert repairs[cause] == 1
    wrong = next(iter(entries.keys() - ENTRIES.keys()), "24001" if name == "flag" else "26001")
    file = "png" if name == "no amodal mask at all" else "json"
    assert repairs.places[cause] == [f"{tmp_path / f'a_ampano.{file}'}: segment {wrong}"]
    for segment in image.segments:
        assert np.array_equal(image.labels == segment.id, segment.visible.to_array(4, 6))
    kept_ids = {segment.id for segment in image.segments}
    assert {v for v in np.unique(image.labels).tolist() if v >= 24000} == kept_ids


def test_a_renamed_thing_never_takes_anothers_id(tmp_path):
    pixels = painted(_24001=21001)
    entries = {"26001": ENTRIES["26001"], "21001": {**ENTRIES["24001"], "category_id": 26}}
    write(tmp_path, "a", pixels, entries)
    image, _ = read(tmp_path)
    assert {s.id: s.visible.area for s in image.segments} == {26001: 6, 26999: 3}
    assert image.renamed == {21001: 26999}
    assert np.count_nonzero(image.labels == 26999) == 3


@pytest.mark.parametrize("segment", ["21001", "27001"])
def test_a_class_that_is_known_to_be_wrong_is_corrected_wherever_it_stands(tmp_path, segment):
    pixels = painted(_26001=int(segment))
    entries = {"24001": ENTRIES["24001"], segment: {**ENTRIES["26001"], "category_id": 21}}
    write(tmp_path, "a", pixels, entries)
    image, repairs = read(tmp_path, mistaken={21: 27})
    assert {s.id: s.visible.area for s in image.segments} == {27001: 6, 24001: 3}
    assert repairs == {"things that the published file gives a known wrong class, corrected": 1}


def test_the_order_is_what_the_labels_show(tmp_path):
    """
    visible  P T C .    the truck T hides 1 px of the car C, the person P 1 px of the truck and 1 px of the car
    T whole  # # . .    order P > T, P > C, T > C; levels P 0, T 1, C 2
    C whole  # # # .
    """
    entries = {
        "24001": {"amodal_mask": {"size": [1, 4], "counts": [0, 1, 3]}},
        "27001": {"amodal_mask": {"size": [1, 4], "counts": [0, 2, 2]}},
        "26001": {"amodal_mask": {"size": [1, 4], "counts": [0, 3, 1]}},
    }
    write(tmp_path, "a", [[24001, 27001, 26001, 7]], entries)
    order, levels = read(tmp_path, shape=(1, 4))[0].visible_order()
    edges = set(zip(order.occluder_ids.tolist(), order.occludee_ids.tolist(), order.overlap_px.tolist()))
    assert edges == {(24001, 27001, 1), (24001, 26001, 1), (27001, 26001, 2)}
    assert levels == {24001: 0, 27001: 1, 26001: 2}


def test_things_behind_each_other_are_ordered_by_their_pixels(tmp_path):
    """A car and a truck in which each hides a part of the other: the car more. Three in a ring have no order."""
    row = {"size": [1, 6], "counts": [0, 6]}
    write(
        tmp_path, "a", [[26001, 26001, 27001, 7, 7, 7]], {"26001": {"amodal_mask": row}, "27001": {"amodal_mask": row}}
    )
    order, levels = read(tmp_path, shape=(1, 6))[0].visible_order()
    assert (order.occluder_ids.tolist(), order.occludee_ids.tolist()) == ([26001], [27001])
    ring = {
        "24001": {"amodal_mask": {"size": [1, 6], "counts": [0, 3, 3]}},
        "26001": {"amodal_mask": {"size": [1, 6], "counts": [2, 3, 1]}},
        "27001": {"amodal_mask": {"size": [1, 6], "counts": [0, 1, 3, 2]}},
    }
    write(tmp_path, "b", [[24001, 24001, 26001, 26001, 27001, 27001]], ring)
    order, levels = read(tmp_path, "b", shape=(1, 6))[0].visible_order()
    assert len(order) == 0
    assert levels == {24001: 0, 26001: 0, 27001: 0}


def test_an_image_that_is_read_twice_is_counted_once(tmp_path):
    write(tmp_path, "a", entries=changed(_24001={"occluded": True}))
    repairs = CauseCount()
    reader = SegmentReader(AMODAL_SYNTH_DRIVE, repairs)
    for _ in range(2):
        reader.read(tmp_path / "a_ampano.png", tmp_path / "a_ampano.json", (4, 6))
    assert repairs == {"occluded flags that contradict the masks, corrected": 1}


def test_predictions_may_lack_occlusion_masks_and_pixels(tmp_path):
    """As the reference evaluation takes them: always an amodal mask, the occlusion mask empty or absent."""
    entries = {
        "26001": {"amodal_mask": CAR, "occlusion_mask": [], "category_id": 26, "score": 0.75},
        "24001": {"amodal_mask": PERSON, "category_id": 24},
        "26007": {"amodal_mask": HIDDEN, "category_id": 26},
    }
    pixels = painted()
    pixels[0, 0] = 27003
    write(tmp_path, "a", pixels, entries)
    image, repairs = read(tmp_path, predicted=True)
    assert [(s.id, s.visible.area, s.amodal.area) for s in image.segments] == [
        (26001, 6, 8),
        (24001, 3, 3),
        (26007, 0, 2),
    ]
    assert image.segments[0].instance(0).score == 0.75
    assert image.labels[0, 0] == 27003
    assert repairs == {
        "segments of the JSON without a pixel in the PNG, taken as fully hidden": 1,
        "visible things without an amodal mask, keep their class only": 1,
    }


def test_classes_that_the_list_lacks_are_counted(tmp_path):
    write(tmp_path, "a", [[7, 34, 35, 36, 255, 0], [9, 9, 26, 7001, 29001, 65535], *PIXELS[2:]], ENTRIES)
    image, repairs = read(tmp_path)
    assert image.labels[:2].tolist() == [[7000, 7000, 0, 0, 0, 0], [0] * 6]
    pixels = {cause: count for cause, count in repairs.items() if cause.startswith("pixels")}
    assert pixels == {
        "pixels of class 9, which AmodalSynthDrive lacks, read as unlabelled": 2,
        "pixels of class 26 (car) with a number of the wrong kind, read as unlabelled": 1,
        "pixels of class 7 (road) with a number of the wrong kind, read as unlabelled": 1,
        "pixels of class 29, which AmodalSynthDrive lacks, read as unlabelled": 1,
        "pixels of class 65, which AmodalSynthDrive lacks, read as unlabelled": 1,
    }


def header_of(width, height):
    """A PNG of that size by its header; decoding it would need the memory of all its pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"IEND"


WRONG = {
    "no PNG": (lambda png, _: png.unlink(), "a_ampano.png: cannot be read"),
    "no JSON": (lambda _, masks: masks.unlink(), "a_ampano.json: cannot be read"),
    "8 bits": (lambda png, _: write_png(png, np.array(PIXELS) % 256, np.uint8), "expected a 16-bit grey PNG"),
    "colour": (lambda png, _: write_png(png, np.zeros((4, 6, 3))), "expected a 16-bit grey PNG"),
    "size": (lambda png, _: write_png(png, PIXELS[:3]), r"expected a 16-bit grey PNG of \(4, 6\)"),
    "cut": (lambda png, _: png.write_bytes(png.read_bytes()[:60]), "truncated"),
    "huge": (lambda png, _: png.write_bytes(header_of(1 << 20, 1 << 20)), "a PNG of 1048576 x 1048576 pixels"),
    "no JSON text": (lambda _, masks: masks.write_text("{"), "not valid JSON"),
    "deep": (lambda _, masks: masks.write_text("[" * 100_000), "not valid JSON"),
    "list": (lambda _, masks: masks.write_text("[]"), "not a map of segment id"),
    "key": (lambda _, masks: masks.write_text('{"car": {}}'), "segment 'car' is not"),
    "twice": (lambda _, masks: masks.write_text('{"26001": {}, "026001": {}}'), "segment 26001 appears twice"),
    "twice the same": (lambda _, m: m.write_text('{"26001": {}, "26001": {}}'), "key '26001' appears twice"),
    "category": (lambda _, m: m.write_text('{"26001": {"category_id": [26]}}'), "segment 26001 .*'category_id'"),
    "mask size": (
        lambda _, m: m.write_text(json.dumps({"26001": {"amodal_mask": {"size": [6, 4], "counts": [24]}}})),
        "6 rows and 4 columns instead of 4 and 6",
    ),
    "short mask": (
        lambda _, m: m.write_text(json.dumps({"26001": {"amodal_mask": {"size": [4, 6], "counts": [5, 2]}}})),
        "cover 7 of 24 pixels",
    ),
    "no mask": (lambda _, m: m.write_text('{"26001": {"amodal_mask": "all of it"}}'), "'amodal_mask' is not a COCO"),
    "far away": (
        lambda _, m: m.write_text(json.dumps({"26001": {"full_mask": {**HIDDEN, "offset": [10**6, 0]}}})),
        "too far outside",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_named(tmp_path, name):
    write(tmp_path, "a")
    damage, message = WRONG[name]
    damage(tmp_path / "a_ampano.png", tmp_path / "a_ampano.json")
    with pytest.raises(DatasetError, match=message) as caught:
        read(tmp_path)
    assert str(tmp_path / "a_ampano.") in str(caught.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([CAR, [], {}]),
    lambda values: (
        st.lists(values, max_size=3) | st.dictionaries(st.sampled_from(["size", "counts", "offset"]), values)
    ),
    max_leaves=6,
)
KEYS = ["amodal_mask", "occlusion_mask", "full_mask", "category_id", "track_id", "score", "visible_depth", "occluded"]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING), st.booleans())
def test_any_content_is_read_or_named(tmp_path_factory, entry, predicted):
    root = tmp_path_factory.getbasetemp()
    write(root, "any", entries={**ENTRIES, "26001": entry})
    problem = ""
    try:
        for segment in read(root, "any", predicted=predicted)[0].segments:
            segment.instance(0)
    except DatasetError as error:
        problem = str(error)
    assert not problem or "any_ampano.json: " in problem


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0, 7, 23, 34, 26001, 26002, 24001, 21001]), min_size=24, max_size=24),
    st.dictionaries(
        st.sampled_from(["26001", "26002", "24001", "21001", "7"]),
        st.fixed_dictionaries(
            {"amodal_mask": st.sampled_from([[], CAR, PERSON, HIDDEN])},
            optional={
                "occlusion_mask": st.sampled_from([[], CAR, HIDDEN]),
                "occluded": st.booleans(),
                "category_id": st.sampled_from([26, 24, 21, 99]),
            },
        ),
    ),
    st.booleans(),
)
def test_whatever_the_files_say_the_scene_is_without_contradiction(tmp_path_factory, pixels, entries, predicted):
    root = tmp_path_factory.mktemp("any")
    write(root, "a", np.array(pixels).reshape(4, 6), entries)
    image, _ = read(root, predicted=predicted)
    assert len({s.id for s in image.segments}) == len(image.segments)
    for segment in image.segments:
        assert AMODAL_SYNTH_DRIVE.by_id[segment.id // 1000].is_thing
        assert segment.amodal.area > 0
        assert segment.visible.is_subset_of(segment.amodal)
        painted = image.labels == segment.id
        seen = painted & segment.amodal.to_array(4, 6) if predicted else painted
        assert np.array_equal(seen, segment.visible.to_array(4, 6))
    if not predicted:
        assert {v for v in np.unique(image.labels).tolist() if v >= 24000} <= {s.id for s in image.segments}


def test_known_errors_of_the_published_data_are_corrected(tmp_path):
    """A truck given as vegetation and a car given as a building, in the frames that are known for it."""
    for sequence, frame, wrong, right in (
        ("20230702032750_SoftRainSunset_Town10HD", 22, 21, 27),
        ("20230706030929_WetCloudyNoon_Town10HD", 71, 11, 26),
    ):
        folder = tmp_path / f"{wrong}" / "amodal_panoptic_seg/front" / sequence
        for number in (frame, frame + 1):
            pixels = painted(_26001=wrong * 1000 + 1)
            entries = {"24001": ENTRIES["24001"], f"{wrong}001": {**ENTRIES["26001"], "category_id": wrong}}
            write(folder, f"front_full_{number:04d}", pixels, entries)
        reader = read_sequence(tmp_path / f"{wrong}")
        first, second = (reader[i].truth.cameras["front"] for i in (0, 1))
        assert {i.instance_id for i in first.instances} == {right * 1000 + 1, 24001}
        assert {i.instance_id for i in second.instances} == {24001}
        cause = "things that the published file gives a known wrong class, corrected"
        assert reader.repairs[cause] == 1
        assert reader.repairs.places[cause][0].endswith(f"front_full_{frame:04d}_ampano.json: segment {wrong}001")
        assert reader.repairs["segments that are no thing, dropped"] == 1


def test_the_amodal_masks_of_predictions_stay_as_they_are(tmp_path):
    """The amodal mask of the car lacks column 4, where the PNG shows it: the truth lacks pixels, a prediction errs."""
    mask = {"size": [4, 6], "counts": [5, 2, 2, 2, 2, 2, 9]}
    write(tmp_path, "a", entries=changed(_26001={"amodal_mask": mask, "occlusion_mask": HIDDEN}))
    image, repairs = read(tmp_path)
    assert (rows(image.segments[0].amodal)[1], rows(image.segments[0].visible)[1]) == (".####.", ".##.#.")
    assert repairs == {"amodal masks without part of the visible mask, joined": 1}
    image, repairs = read(tmp_path, predicted=True)
    assert (rows(image.segments[0].amodal)[1], rows(image.segments[0].visible)[1]) == (".###..", ".##...")
    assert repairs == {"visible parts outside the amodal mask, cut": 1}


def test_a_class_without_a_free_number_drops_the_segment(tmp_path):
    entries = {f"26{number:03d}": {"amodal_mask": CAR, "occlusion_mask": CAR} for number in range(1000)}
    write(tmp_path, "a", painted(_24001=7, _26001=7), entries | {"21001": {**ENTRIES["26001"], "category_id": 26}})
    image, repairs = read(tmp_path)
    assert len(image.segments) == 1000
    cause = "segments of a class that has no number left, dropped"
    assert repairs.places[cause] == [f"{tmp_path / 'a_ampano.json'}: segment 21001"]


def test_a_thing_without_a_number_is_counted(tmp_path):
    write(tmp_path, "a", entries={**ENTRIES, "26": ENTRIES["26001"], "7": {}})
    image, repairs = read(tmp_path)
    assert [s.id for s in image.segments] == [26001, 24001]
    assert repairs.places == {"things without a number, dropped": [f"{tmp_path / 'a_ampano.json'}: segment 26"]}


def test_an_empty_occlusion_mask_of_a_true_hidden_part_is_counted(tmp_path):
    """In predictions it may be left out, and `occluded` with it; in the truth both contradict the amodal mask."""
    write(tmp_path, "a", entries=changed(_26001={"occlusion_mask": [], "occluded": False}))
    image, repairs = read(tmp_path)
    assert image.segments[0].amodal.area - image.segments[0].visible.area == 2
    assert repairs == {
        "occlusion masks that are not what the amodal mask hides, replaced by that": 1,
        "occluded flags that contradict the masks, corrected": 1,
    }
    image, repairs = read(tmp_path, predicted=True)
    assert image.segments[0].amodal.area - image.segments[0].visible.area == 2
    assert not repairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"-1": [26001]}', "holds level '-1', known are 0..7"),
        ('{"8": [26001]}', "holds level '8', known are 0..7"),
        ('{"0": [26001.7]}', "level 0 holds 26001.7, which is no segment id"),
        ('{"0": ["26001"]}', "level 0 holds '26001', which is no segment id"),
        ('{"0": [26001], "1": [26001]}', "segment 26001 is on the levels 0 and 1"),
        ('{"0": [26001], "0": []}', "key '0' appears twice"),
        ('{"0": 26001}', "not a map of level to lists of segment ids"),
        ("[]", "not a map of level to lists of segment ids"),
    ],
)
def test_wrong_levels_are_named(tmp_path, text, message):
    (tmp_path / "a_rel.json").write_text(text)
    with pytest.raises(DatasetError, match=rf"a_rel\.json: .*{re.escape(message)}"):
        read_levels(tmp_path / "a_rel.json")


def test_a_track_beyond_all_numbers_is_named(tmp_path):
    write(tmp_path, "a", entries=changed(_26001={"track_id": 2**70}))
    with pytest.raises(DatasetError, match=r"a_ampano\.json: segment '26001' .*'track_id'"):
        read(tmp_path)
