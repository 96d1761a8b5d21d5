import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from amodal_perception_ros.masks import RoiMask

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
    with pytest.raises(ValueError, match="shape"):
        RoiMask.from_array(np.ones((2, 2, 3), bool))
