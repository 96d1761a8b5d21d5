import numpy as np
import pytest

from amodal_perception_ros import labels
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import (
    AmodalObject,
    Camera,
    CameraScene,
    Instance,
    Rig,
    SurroundFrame,
    isotropic_covariance,
    largest_stddev,
    paste_nearest,
)

K = np.array([[100.0, 0, 4], [0, 100.0, 3], [0, 0, 1]])


def camera(name="front", width=8, height=6):
    return Camera(name, width, height, K, np.eye(4))


def instance(number, amodal, visible, level, depth):
    mask = RoiMask.from_array(amodal)
    patch = np.where(mask.roi(), depth, np.nan).astype(np.float32)
    return Instance(26000 + number, 26, 1.0, RoiMask.from_array(visible), mask, level, depth, depth, np.nan, patch)


def test_labels_are_a_bijection_between_ids_and_indices():
    assert [label.index for label in labels.LABELS] == list(range(18))
    assert len(labels.STUFF) == 11
    assert len(labels.THINGS) == 7
    assert len({label.id for label in labels.LABELS}) == 18
    classes = labels.AMODAL_SYNTH_DRIVE
    assert classes.indices(label.id for label in labels.LABELS).tolist() == list(range(18))
    assert len(classes.by_id) == 18


def test_segment_ids_keep_stuff_and_things_apart():
    assert labels.segment_id(26, 3) == 26003
    assert labels.segment_id(7) == 7000
    for class_id, number in ((26, 0), (26, 1000), (7, 1), (99, 1)):
        with pytest.raises(ValueError, match=r"class id|instance number"):
            labels.segment_id(class_id, number)


def test_visible_outside_amodal_is_refused():
    amodal, visible = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    amodal[1:3, 1:3] = True
    visible[1:4, 1:3] = True
    with pytest.raises(ValueError, match="leaves the amodal mask"):
        instance(1, amodal, visible, 0, 5.0)


def test_depth_levels_hold_stuff_and_whole_objects():
    """A car at 5 m hides the middle of a car at 9 m in front of a road at 20 m."""
    far, near = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    far[2:4, 1:7] = True
    near[1:5, 3:5] = True
    labels_image = np.full((6, 8), 7000, np.uint16)
    labels_image[far] = 26002
    labels_image[near] = 26001
    depth = np.where(near, 5.0, np.where(far, 9.0, 20.0)).astype(np.float32)
    scene = CameraScene(
        camera(), 0, labels_image, depth, [instance(1, near, near, 0, 5.0), instance(2, far, far & ~near, 1, 9.0)]
    )
    levels = scene.depth_levels()
    assert levels.shape == (8, 6, 8)
    expected = np.where(near, 5.0, np.where(far, np.nan, 20.0)).astype(np.float32)
    np.testing.assert_array_equal(levels[0], expected)
    np.testing.assert_array_equal(levels[1], np.where(far, 9.0, np.nan).astype(np.float32))
    assert np.isnan(levels[2:]).all()
    assert scene.instance(26002).occlusion_ratio == pytest.approx(4 / 12)
    assert scene.instance(26002).hidden_mask.area == 4


def test_paste_nearest_clips_and_keeps_the_nearer_value():
    depth = np.array([[3.0, np.nan], [np.nan, 1.0]], np.float32)
    paste_nearest(depth, np.array([[9.0, 2.0], [9.0, 2.0]], np.float32), -1, 0)
    np.testing.assert_array_equal(depth, np.array([[2.0, np.nan], [2.0, 1.0]], np.float32))
    paste_nearest(depth, np.ones((2, 2), np.float32), 5, 5)
    np.testing.assert_array_equal(depth, np.array([[2.0, np.nan], [2.0, 1.0]], np.float32))


def test_calibration_and_images_must_agree():
    with pytest.raises(ValueError, match="focal"):
        Camera("front", 8, 6, np.zeros((3, 3)), np.eye(4))
    with pytest.raises(ValueError, match="not positive"):
        Camera("front", 0, 6, K, np.eye(4))
    with pytest.raises(ValueError, match="unique"):
        Rig((camera(), camera()))
    rig = Rig((camera(),))
    with pytest.raises(KeyError, match="no camera 'back'"):
        rig.camera("back")
    with pytest.raises(ValueError, match="calibration is for"):
        SurroundFrame(0, rig, {"front": np.zeros((5, 8, 3), np.uint8)})
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        SurroundFrame(0, rig, {}, lidar=np.zeros((3, 3), np.float32))


def test_covariance_of_an_object_is_that_of_its_position_unless_it_is_stated():
    one = AmodalObject(1, 26, 1.0, np.zeros(3), np.ones(3), 0.0, np.zeros(3), 0.5, 1.0, (), 0)
    assert np.array_equal(one.covariance, np.diag([0.25, 0.25, 0.25, -1, -1, -1]))
    assert np.array_equal(isotropic_covariance(np.nan), -np.eye(6))
    with pytest.raises(ValueError, match=r"object 1: covariance must have shape \(6, 6\)"):
        AmodalObject(1, 26, 1.0, np.zeros(3), np.ones(3), 0.0, np.zeros(3), 0.5, 1.0, (), 0, np.eye(2))


def test_largest_stddev_is_that_of_the_worst_direction():
    """2 m along (3, 4) / 5 and 1 m across it: xx = 4 * 9/25 + 16/25, yy = 4 * 16/25 + 9/25, xy = (4 - 1) * 12/25."""
    covariance = np.eye(6)
    covariance[:2, :2] = [[52 / 25, 36 / 25], [36 / 25, 73 / 25]]
    assert largest_stddev(covariance) == pytest.approx(2.0)
    assert np.isnan(largest_stddev(-np.eye(6)))
