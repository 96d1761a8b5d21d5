"""Masks of COCO files against pycocotools, within bounds whatever the file says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from amodal_perception_ros.datasets.coco.masks import MaskError, compact, decode_mask

SIDES = st.integers(1, 40)


@given(st.integers(0, 2**32 - 1), SIDES, SIDES, st.floats(0, 1))
def test_run_lengths_are_decoded_as_pycocotools_does(seed, height, width, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = {"size": [height, width], "counts": rle["counts"].decode()}
    np.testing.assert_array_equal(decode_mask(text, height, width).to_array(height, width), mask)
    runs = np.diff(np.concatenate(([0], np.flatnonzero(np.diff(mask.T.ravel(), prepend=False)), [mask.size]))).tolist()
    plain = {"size": [height, width], "counts": runs}
    assert coco_mask.frPyObjects(plain, height, width)["counts"] == rle["counts"]
    np.testing.assert_array_equal(decode_mask(plain, height, width).to_array(height, width), mask)


@given(st.lists(st.lists(st.floats(-60, 100), min_size=6, max_size=24), min_size=1, max_size=3), SIDES, SIDES)
def test_polygons_are_filled_as_pycocotools_does(parts, height, width):
    parts = [part[: len(part) // 2 * 2] for part in parts]
    height, width = height + 10, width + 10
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, height, width))).astype(bool)
    for value in (parts, compact(parts)):
        np.testing.assert_array_equal(decode_mask(value, height, width).to_array(height, width), expected)


def test_large_run_lengths_are_decoded_as_pycocotools_does():
    rows, columns = np.mgrid[:1080, :1920]
    mask = (rows - 500) ** 2 + (columns - 900) ** 2 < 300**2
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    decoded = decode_mask({"size": [1080, 1920], "counts": rle["counts"].decode()}, 1080, 1920)
    np.testing.assert_array_equal(decoded.to_array(1080, 1920), mask)
    assert decoded.box == (601, 201, 1200, 800)


@pytest.mark.parametrize(
    "value",
    [None, [], {}, "", {"size": [1080, 1920], "counts": "PPYo1"}, {"size": [1080, 1920], "counts": ""},
     {"size": [1080, 1920], "counts": []}, [[]], [[3, 4]], [[3, 4, 9, 9]], [2000, 10, 2010, 10, 2010, 20]],
)  # fmt: skip
def test_masks_without_a_pixel_are_empty(value):
    for form in (value, compact(value)):
        assert decode_mask(form, 1080, 1920).area == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"size": [2**31, 2**31], "counts": "PPYo1"}, "for an image of 2147483648 rows"),
        ({"size": [9000, 9000], "counts": [81000000]}, "for an image of 9000 rows"),
        ({"size": [12, 6], "counts": [72]}, "for an image of 12 rows and 6 columns instead of 6 and 12"),
        ({"size": [6, 12], "counts": [70]}, "run lengths cover 70 of 72 pixels"),
        ({"size": [6, 12], "counts": [60, 20]}, "run lengths cover 80 of 72 pixels"),
        ({"size": [6, 12], "counts": [80, -8]}, "run lengths cover 72 of 72 pixels"),
        ({"size": [6, 12], "counts": [1.5, 70.5]}, "no list of run lengths"),
        ({"size": [6, 12], "counts": [10**400]}, "something else than numbers"),
        ({"size": [6, 12], "counts": [[72]]}, "no list of run lengths"),
        ({"size": [6, 12], "counts": ["a"]}, "something else than numbers"),
        ({"size": [6, 12], "counts": 72}, "without 'counts'"),
        ({"size": [6, 12]}, "without 'counts'"),
        ({"counts": [72]}, "without 'size'"),
        ({"size": [-6, -12], "counts": [72]}, "for an image of -6 rows"),
        ({"size": [6.0, 12], "counts": [72]}, "without 'size'"),
        ({"size": [6, 12], "counts": "X"}, "no compressed run-length string"),
        ({"size": [6, 12], "counts": "X2\u00e9"}, "no compressed run-length string"),
        ({"size": [6, 12], "counts": " 1"}, "no compressed run-length string"),
        ({"size": [6, 12], "counts": "oooooooooooooooo1"}, "longer than any image"),
        ([[1, 1, 5, 1, 5]], "no list x, y"),
        ([[1, 1, 5, 1, 5, float("nan")]], "no numbers or far outside"),
        ([[1, 1, 5, 1, 5, 1e9]], "no numbers or far outside"),
        ([[1, 1, 5, 1, 5, "5"], [1, 1, "x", 1, 5, 5]], "something else than numbers"),
        ([[[1, 1], [5, 1], [5, 5]]], "no list x, y"),
        ([{"size": [6, 12], "counts": [72]}], "something else than numbers"),
        (7, "int instead of polygons"),
        ("PPYo1", "str instead of polygons"),
        (True, "bool instead of polygons"),
    ],
)
def test_what_is_no_mask_is_refused_with_the_reason(value, message):
    for form in (value, compact(value)):
        with pytest.raises(MaskError, match=message):
            decode_mask(form, 6, 12)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner),
    max_leaves=12,
)


@settings(max_examples=300)
@given(JUNK | st.fixed_dictionaries({"size": st.just([4, 5]), "counts": st.text("0123456789PQXYZabcno", max_size=9)}))
def test_any_value_is_a_mask_or_refused(value):
    for form in (value, compact(value)):
        try:
            mask = decode_mask(form, 4, 5)
        except MaskError:
            continue
        assert 0 <= mask.area <= 20


def test_text_that_is_no_ascii_is_no_mask():
    for counts in ("\ud800", "é0", "P\u3000"):
        with pytest.raises(MaskError, match="no compressed run-length string"):
            decode_mask({"size": [6, 12], "counts": counts}, 6, 12)
