"""Scenes with everything that a message must carry, and comparisons of scenes; shared by tests."""

from itertools import pairwise

import numpy as np

from amodal_perception_ros.labels import THINGS
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import (
    AmodalObject,
    BevOccupancy,
    Camera,
    CameraScene,
    Evidence,
    Instance,
    OcclusionOrder,
    Source,
    SourceStatus,
)


def camera(width=64, height=48, name="front"):
    intrinsics = np.array([[40.0, 0, width / 2], [0, 41.0, height / 2], [0, 0, 1]])
    return Camera(name, width, height, intrinsics, np.eye(4))


def random_scene(seed, instances=5, width=64, height=48, name="front"):
    """A scene whose masks overlap, have holes, leave the image on every side, and may be fully visible."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 7000, 11000, 23000], (height, width)).astype(np.uint16)
    depth = rng.uniform(1, 80, (height, width)).astype(np.float32)
    depth[rng.random((height, width)) < 0.1] = np.nan
    made = [_random_instance(rng, number, labels) for number in range(1, instances + 1)]
    edges = [(a.instance_id, b.instance_id) for a, b in pairwise(made)]
    in_cycle = rng.random(len(edges)) < 0.3
    # In a message the probability 0.5 stands for such an edge.
    probability = np.where(in_cycle, 0.5, rng.random(len(edges))).astype(np.float32)
    order = OcclusionOrder(
        np.array([edge[0] for edge in edges], np.uint32),
        np.array([edge[1] for edge in edges], np.uint32),
        probability,
        rng.integers(0, 5000, len(edges)).astype(np.uint32),
        in_cycle,
    )
    return CameraScene(camera(width, height, name), 1_700_000_000_123_456_789 + seed, labels, depth, made, order)


def _random_instance(rng, number, labels):
    height, width = labels.shape
    class_id = THINGS[int(rng.integers(len(THINGS)))].id
    rows, columns = (int(v) for v in rng.integers(3, 24, 2))
    shape = rng.random((rows, columns)) < 0.8
    shape[rows // 2, columns // 2] = True
    x, y = int(rng.integers(-columns + 1, width - 1)), int(rng.integers(-rows + 1, height - 1))
    amodal = RoiMask.from_array(shape, x, y)
    inside = amodal.clipped(height, width)
    visible = RoiMask.from_array(inside.to_array(height, width) & (rng.random((height, width)) < 0.6))
    labels[visible.to_array(height, width)] = class_id * 1000 + number
    patch = np.where(amodal.roi(), rng.uniform(1, 80, (amodal.height, amodal.width)), np.nan).astype(np.float32)
    return Instance(
        instance_id=class_id * 1000 + number,
        class_id=class_id,
        score=float(np.float32(rng.random())),
        visible_mask=visible,
        amodal_mask=amodal,
        occlusion_level=int(rng.integers(8)),
        visible_depth=float("nan") if visible.area == 0 else float(np.float32(rng.uniform(1, 80))),
        amodal_depth=float(np.float32(rng.uniform(1, 80))),
        amodal_depth_stddev=float("nan") if number % 2 else float(np.float32(rng.random())),
        depth=patch,
        track_id=int(rng.integers(0, 2**31)),
    )


def random_bev(seed, rows=30, columns=20):
    rng = np.random.default_rng(seed)
    return BevOccupancy(
        stamp_ns=12_345_678_901,
        resolution=0.25,
        origin=(-2.5, 100.75),
        visible=rng.integers(-1, 101, (rows, columns)).astype(np.int8),
        amodal=rng.integers(-1, 101, (rows, columns)).astype(np.int8),
        semantic=rng.choice([0, 7, 26], (rows, columns)).astype(np.uint8),
        evidence=rng.choice([int(e) for e in Evidence], (rows, columns)).astype(np.uint8),
        z_min=0.25,
        z_max=2.5,
        sources=(
            Source("lidar", SourceStatus.OK, 0),
            Source("front", SourceStatus.LATE, 1_500_000_003),
            Source("left", SourceStatus.OK, -7),
            Source("back", SourceStatus.MISSING, 0),
        ),
    )


def some_objects():
    """A tracked car that two cameras see, a hidden person, and an untracked bus of unknown velocity."""
    nan = float("nan")
    return [
        AmodalObject(
            7, 26, 0.75, np.array([10.0, -2.0, 0.8]), np.array([4.5, 1.9, 1.6]), 2.5,
            np.array([3.0, 0.5, 0.0]), 0.5, 0.5, ("front", "right"), 5_000_000_001,
            np.diag([0.25, 0.0625, 0.04, -1, -1, 0.01]), yaw_rate=-0.2,
        ),
        AmodalObject(
            8, 24, 0.5, np.array([12.0, 1.0, 0.9]), np.array([0.5, 0.5, 1.8]), -3.0,
            np.array([0.0, 0.0, 0.0]), 1.5, 0.0, (), 4_000_000_000,
        ),
        AmodalObject(
            0, 28, 1.0, np.array([-20.0, 4.0, 1.5]), np.array([12.0, 2.5, 3.0]), 0.0,
            np.array([nan, nan, nan]), nan, 1.0, ("back",), 5_000_000_001,
        ),
    ]  # fmt: skip


def assert_same_scene(actual, expected):
    assert actual.camera.name == expected.camera.name
    np.testing.assert_allclose(actual.camera.intrinsics, expected.camera.intrinsics)
    assert actual.stamp_ns == expected.stamp_ns
    assert actual.labels.dtype == np.uint16
    np.testing.assert_array_equal(actual.labels, expected.labels)
    np.testing.assert_array_equal(actual.depth, expected.depth)
    assert len(actual.instances) == len(expected.instances)
    for one, other in zip(actual.instances, expected.instances):
        _assert_same_fields(one, other)
    _assert_same_fields(actual.order, expected.order)


def assert_same_bev(actual, expected):
    _assert_same_fields(actual, expected)


def assert_same_object(actual, expected):
    np.testing.assert_allclose(np.exp(1j * actual.yaw), np.exp(1j * expected.yaw), atol=1e-12)
    _assert_same_fields(actual, expected, skip=("yaw",))


def _assert_same_fields(actual, expected, skip=()):
    assert type(actual) is type(expected)
    for name, value in vars(expected).items():
        if name in skip:
            continue
        mine = getattr(actual, name)
        if isinstance(value, RoiMask):
            assert (mine.x_offset, mine.y_offset, mine.width, mine.height) == (
                value.x_offset, value.y_offset, value.width, value.height,
            ), name  # fmt: skip
            np.testing.assert_array_equal(mine.counts, value.counts, name)
        elif isinstance(value, (np.ndarray, float)):
            np.testing.assert_array_equal(mine, value, name)
        else:
            assert mine == value, name
