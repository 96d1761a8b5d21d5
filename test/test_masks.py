from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from amodal_perception_ros.masks import RoiMask, pairwise_areas, pairwise_iou

pairs = array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def test_run_lengths_are_column_major_and_start_with_zeros():
    mask = np.array([[0, 1, 0], [1, 1, 0]], bool)
    encoded = RoiMask.from_array(mask, x_offset=10, y_offset=20)
    assert (encoded.x_offset, encoded.y_offset, encoded.width, encoded.height) == (10, 20, 2, 2)
    assert encoded.counts.tolist() == [1, 3]  # column 0: 0 1, column 1: 1 1
    assert encoded.area == 3


def test_roi_is_tight():
    mask = np.zeros((8, 9), bool)
    mask[3:5, 2:7] = True
    assert RoiMask.from_array(mask).box == (2, 3, 7, 5)


@given(pairs)
def test_set_algebra_agrees_with_numpy(masks):
    a, b = masks
    first, second = RoiMask.from_array(a), RoiMask.from_array(b)
    assert ((first & second).to_array(*a.shape) == (a & b)).all()
    assert ((first | second).to_array(*a.shape) == (a | b)).all()
    assert ((first - second).to_array(*a.shape) == (a & ~b)).all()
    assert first.is_subset_of(second) == (not (a & ~b).any())
    assert (first == second) == bool((a == b).all())
    union = (a | b).sum()
    assert first.iou(second) == pytest.approx((a & b).sum() / union if union else 1.0)


@given(pairs)
def test_counts_agree_with_pycocotools(masks):
    mask = masks[0]
    encoded = RoiMask.from_array(mask)
    if encoded.area == 0:
        assert encoded.counts.size == 0
        return
    theirs = coco.frPyObjects(
        {"size": [encoded.height, encoded.width], "counts": encoded.counts.tolist()}, encoded.height, encoded.width
    )
    assert (coco.decode(theirs).astype(bool) == encoded.roi()).all()


def test_a_mask_may_leave_the_image():
    mask = RoiMask.from_array(np.ones((4, 6), bool), x_offset=-2, y_offset=-1)
    assert mask.area == 24
    inside = mask.clipped(10, 10)
    assert inside.box == (0, 0, 4, 3)
    assert inside.is_subset_of(mask)


def test_counts_that_do_not_fill_the_roi_are_refused():
    with pytest.raises(ValueError, match="cover 5 pixels"):
        RoiMask(0, 0, 2, 2, np.array([5]))
    with pytest.raises(ValueError, match="negative"):
        RoiMask(0, 0, -1, 2, np.array([]))
    with pytest.raises(ValueError, match="not below"):
        RoiMask(0, 0, 2**16, 2**15, np.array([2**31]))
    with pytest.raises(ValueError, match="shape"):
        RoiMask.from_array(np.ones((2, 2, 3), bool))


placed = st.tuples(
    array_shapes(min_dims=2, max_dims=2, max_side=24).flatmap(lambda shape: arrays(bool, shape)),
    st.integers(-30, 30),
    st.integers(-30, 30),
).map(lambda drawn: RoiMask.from_array(*drawn))
rectangles = st.builds(
    lambda width, height, x, y: RoiMask(x, y, width, height, np.array([0, width * height])),
    *(st.integers(1, 20), st.integers(1, 20), st.integers(-9, 9), st.integers(-9, 9)),
)
mask_lists = st.lists(st.one_of(placed, rectangles, st.just(RoiMask.empty())), max_size=5)


@given(mask_lists, mask_lists)
def test_pairwise_areas_are_those_of_the_arrays(masks, others):
    counted = [
        [int((a.window(-64, -64, 128, 128) & b.window(-64, -64, 128, 128)).sum()) for b in others] for a in masks
    ]
    shared, areas, other_areas = pairwise_areas(masks, others)
    assert areas.tolist() == [mask.area for mask in masks]
    assert other_areas.tolist() == [mask.area for mask in others]
    assert shared.dtype == np.int64
    assert shared.shape == (len(masks), len(others))
    assert shared.tolist() == counted


def test_pairwise_areas_of_a_drawn_example():
    """
    A  ##..    B  .##.    C  .....
       ##.#       .##.       ...#.
    """
    a = RoiMask.from_array(np.array([[1, 1, 0, 0], [1, 1, 0, 1]], bool))
    b = RoiMask.from_array(np.array([[0, 1, 1, 0], [0, 1, 1, 0]], bool))
    c = RoiMask.from_array(np.array([[0, 0, 0, 0, 0], [0, 0, 0, 1, 0]], bool))
    assert pairwise_areas([a, b], [b, c])[0].tolist() == [[2, 1], [4, 0]]


def test_pairwise_areas_with_many_runs_in_a_column():
    """A comb of 20 teeth against itself, its gaps and a solid block."""
    comb = np.zeros((40, 3), bool)
    comb[::2] = True
    masks = [RoiMask.from_array(comb), RoiMask.from_array(~comb), RoiMask.from_array(np.ones((40, 3), bool))]
    assert pairwise_areas(masks, masks)[0].tolist() == [[60, 0, 60], [0, 60, 60], [60, 60, 120]]


def test_pairwise_areas_with_runs_of_length_zero():
    split = RoiMask(0, 0, 3, 2, np.array([1, 2, 0, 1, 1, 0, 1, 0]))  # rows 010 and 110, one run in two pieces
    below = RoiMask(0, 1, 4, 1, np.array([0, 4]))
    empty = RoiMask(0, 0, 0, 0, np.array([0, 0]))
    assert pairwise_areas([split], [split, empty, below])[0].tolist() == [[3, 0, 2]]
    assert pairwise_areas([split, empty, below], [split])[0].tolist() == [[3], [0], [2]]


@given(
    st.lists(arrays(bool, (13, 11)), min_size=1, max_size=4), st.lists(arrays(bool, (13, 11)), min_size=1, max_size=4)
)
def test_areas_and_ious_agree_with_pycocotools(arrays_a, arrays_b):
    masks, others = ([RoiMask.from_array(array) for array in side] for side in (arrays_a, arrays_b))
    coded, other_coded = (
        [coco.encode(np.asfortranarray(array.astype(np.uint8))) for array in side] for side in (arrays_a, arrays_b)
    )
    assert [mask.area for mask in masks] == coco.area(coded).tolist()
    theirs = coco.iou(coded, other_coded, [0] * len(others))
    assert (pairwise_iou(masks, others) == theirs).all()
    one_by_one = [[a.iou(b) if a.area or b.area else 0.0 for b in others] for a in masks]
    assert (np.array(one_by_one) == theirs).all()


@given(mask_lists, mask_lists)
def test_pairwise_areas_do_not_depend_on_the_place_of_all_masks(masks, others):
    far = [[replace(m, x_offset=m.x_offset + 2**24, y_offset=m.y_offset - 2**24) for m in s] for s in (masks, others)]
    assert pairwise_areas(*far)[0].tolist() == pairwise_areas(masks, others)[0].tolist()


def test_pairwise_areas_of_two_runs_in_a_column_left_of_the_image():
    row, dotted = np.ones((1, 2), bool), np.array([[1], [0], [1]], bool)
    assert pairwise_areas([RoiMask.from_array(row, -2)], [RoiMask.from_array(dotted, -2)])[0].tolist() == [[1]]


def test_pairwise_areas_of_wanted_pairs_only():
    masks = [RoiMask(0, 0, 2, 2, np.array([0, 4])), RoiMask(1, 0, 2, 2, np.array([0, 4]))]
    assert pairwise_areas(masks, masks, np.array([[True, False], [True, True]]))[0].tolist() == [[4, 0], [2, 4]]


def test_pairwise_areas_sum_over_more_pixels_than_32_bits_count():
    side = 1 << 15
    masks = [RoiMask(0, 0, side, side, np.array([side * side - 5 - k, 5 + k])) for k in range(6)]
    shared, areas, _ = pairwise_areas(masks, masks[:1])
    assert areas.tolist() == [5, 6, 7, 8, 9, 10]
    assert shared.tolist() == [[5]] * 6
