"""What each camera and the LiDAR say about where one object is: surface points in base_link."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.fusion.geometry import MAX_DEPTH, MIN_DEPTH, CameraCloud, lift_pixels
from amodal_perception_ros.fusion.priors import SIZES
from amodal_perception_ros.fusion.ragged import members
from amodal_perception_ros.scene import Camera, CameraScene, Instance

_SAMPLES_PER_SIDE = 14
_LIDAR_SAMPLES = 200
_MIN_LIDAR_POINTS = 3
_LIDAR_STDDEV = 0.15
_UNKNOWN_RELATIVE_STDDEV = 0.1
_MASK_STDDEV, _MASK_STDDEV_PX = 0.05, 0.5
"""Standard deviation of a mask's place: of what it is taken for [m], and of its edges [px]."""
_APART = 1024.0
"""More than any ratio of two depths between `MIN_DEPTH` and `MAX_DEPTH`, and the spread of a group."""


@dataclass(eq=False)
class ObjectEvidence:
    """Surface of one object as one camera sees it, or as several do once joined.

    Attributes:
        class_id, track_id: of the instance.
        score: confidence in [0, 1].
        points: (N, 3) float32 surface points in base_link from the amodal depth, hidden part included.
        visible: (N,) bool, the point belongs to the visible mask.
        lidar: (M, 3) float32 LiDAR returns on the visible mask, in base_link.
        viewpoint: (3,) float64 camera position in base_link.
        stddev: standard deviation of the object's distance [m].
        across_stddev: standard deviation of its place across the line of sight [m].
        visible_area, amodal_area: pixels of the masks.
        is_cut: the image's left or right border cuts the amodal mask.
        cameras: cameras that see a part of it.
        views: cameras that the evidence comes from.
        instances: what shows the object in them.
    """

    class_id: int
    track_id: int
    score: float
    points: np.ndarray
    visible: np.ndarray
    lidar: np.ndarray
    viewpoint: np.ndarray
    stddev: float
    across_stddev: float
    visible_area: int
    amodal_area: int
    is_cut: bool
    cameras: tuple[str, ...]
    views: tuple[str, ...]
    instances: tuple[Instance, ...] = ()

    @property
    def visible_fraction(self) -> float:
        """Visible share of the amodal mask, 0 where that is empty."""
        return self.visible_area / self.amodal_area if self.amodal_area else 0.0

    def join(self, other: ObjectEvidence) -> ObjectEvidence:
        """Return the evidence of both views of one object; the larger view gives the viewpoint and the class."""
        main, side = (self, other) if self.visible_area >= other.visible_area else (other, self)
        return ObjectEvidence(
            class_id=main.class_id,
            track_id=main.track_id or side.track_id,
            score=max(main.score, side.score),
            points=np.concatenate([main.points, side.points]),
            visible=np.concatenate([main.visible, side.visible]),
            lidar=np.concatenate([main.lidar, side.lidar]),
            viewpoint=main.viewpoint,
            stddev=min(main.stddev, side.stddev),
            across_stddev=min(main.across_stddev, side.across_stddev),
            visible_area=main.visible_area + side.visible_area,
            amodal_area=main.amodal_area + side.amodal_area,
            is_cut=main.is_cut or side.is_cut,
            cameras=main.cameras + side.cameras,
            views=main.views + side.views,
            instances=main.instances + side.instances,
        )


def gather_evidence(scene: CameraScene, cloud: CameraCloud | None, points: np.ndarray | None) -> list[ObjectEvidence]:
    """Lift every instance of a camera; those without any usable depth cannot be placed and are left out.

    With at least three LiDAR returns on the visible mask, the whole amodal depth is scaled so that it agrees with
    them: the network gives the shape, the LiDAR the distance. All instances are worked on at once.

    Args:
        scene: what the camera perceived.
        cloud: the LiDAR as this camera sees it, or None.
        points: (P, 3) float32 base_link cloud that `cloud.index` refers to, or None.
    """
    instances, camera = scene.instances, scene.camera
    if not instances:
        return []
    owner, columns, rows, depth = _samples(instances)
    scale, returns = np.ones(len(instances)), [np.zeros((0, 3), np.float32)] * len(instances)
    if cloud is not None and points is not None:
        scale, groups = _lidar_anchors(instances, cloud)
        for number, group in groups.items():
            returns[number] = points[cloud.index[group]]
    lifted = lift_pixels(camera, columns, rows, depth * scale.astype(np.float32)[owner])
    seen = _is_labelled(scene, columns, rows, np.array([each.instance_id for each in instances])[owner])
    ends = np.cumsum(np.bincount(owner, minlength=len(instances))).tolist()
    found = []
    for instance, surface, start, end in zip(instances, returns, [0, *ends], ends):
        if start < end:
            stddev = _LIDAR_STDDEV if len(surface) else _depth_stddev(instance, depth[start:end])
            found.append(_evidence(instance, camera, lifted[start:end], seen[start:end], surface, stddev))
    return found


def _samples(instances: list[Instance]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (N,) number of the instance, column and row [px] and usable depth [m] of samples of the amodal masks."""
    steps = [
        (max(1, each.amodal_mask.height // _SAMPLES_PER_SIDE), max(1, each.amodal_mask.width // _SAMPLES_PER_SIDE))
        for each in instances
    ]
    patches = [each.depth[::down, ::right] for each, (down, right) in zip(instances, steps)]
    depth = np.concatenate([patch.ravel() for patch in patches])
    sizes = np.array([patch.size for patch in patches])
    picked = np.flatnonzero((depth > MIN_DEPTH) & (depth < MAX_DEPTH))
    owner, place = (each[picked] for each in members(sizes))
    down, right = np.array(steps).T
    width = np.array([max(1, patch.shape[1]) for patch in patches])[owner]
    left = np.array([each.amodal_mask.x_offset for each in instances])
    top = np.array([each.amodal_mask.y_offset for each in instances])
    row, column = place // width, place % width
    return owner, left[owner] + right[owner] * column, top[owner] + down[owner] * row, depth[picked]


def _is_labelled(scene: CameraScene, columns: np.ndarray, rows: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Whether (N,) pixels, which may lie outside of the image, show the (N,) segments."""
    height, width = scene.labels.shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return inside & (scene.labels[np.where(inside, rows, 0), np.where(inside, columns, 0)] == segments)


def _evidence(
    instance: Instance, camera: Camera, points: np.ndarray, seen: np.ndarray, returns: np.ndarray, stddev: float
) -> ObjectEvidence:
    mask, visible_area = instance.amodal_mask, instance.visible_mask.area
    return ObjectEvidence(
        class_id=instance.class_id,
        track_id=instance.track_id,
        score=float(instance.score),
        points=points,
        visible=seen,
        lidar=returns,
        viewpoint=camera.base_from_camera[:3, 3],
        stddev=stddev,
        across_stddev=_across_stddev(points, camera),
        visible_area=visible_area,
        amodal_area=mask.area,
        is_cut=mask.x_offset <= 0 or mask.x_offset + mask.width >= camera.width,
        cameras=(camera.name,) if visible_area else (),
        views=(camera.name,),
        instances=(instance,),
    )


def _across_stddev(points: np.ndarray, camera: Camera) -> float:
    """The mask's own standard deviation, and that of its edges at the distance of the middle point."""
    x, y = points[len(points) // 2, :2] - camera.base_from_camera[:2, 3]
    return math.hypot(_MASK_STDDEV, _MASK_STDDEV_PX * math.hypot(x, y) / camera.intrinsics[0, 0])


def _lidar_anchors(instances: list[Instance], cloud: CameraCloud) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Ratios of the LiDAR's depth to the instances' at the same pixels, and the returns that agree with them.

    Some returns on a mask lie elsewhere (seen through windows, past edges, from the LiDAR's other viewpoint). So the
    ratio is the median of the densest group of ratios whose spread fits the object's size, weighted by its
    plausibility exp(-|log ratio| / 0.3). With fewer than three returns, or a ratio outside [0.5, 2], the ratio is 1
    and no return counts.

    Returns:
        (K,) float64 ratio of each instance; number of the instance -> rows of `cloud` that agree with its ratio.
    """
    scale, groups = np.ones(len(instances)), dict[int, np.ndarray]()
    owner, returns, predicted = _returns_on(instances, cloud)
    ratio = cloud.depth[returns].astype(np.float64) / predicted
    order = np.lexsort((ratio, owner))
    numbers, starts, counts = np.unique(owner, return_index=True, return_counts=True)
    middle_depth = _medians(predicted[np.lexsort((predicted, owner))], starts, counts)
    owner, returns, ratio = owner[order], returns[order], ratio[order]
    lengths = np.array([SIZES[instances[number].class_id].length for number in numbers])
    spread = np.repeat(2.0 * np.maximum(0.3, 0.2 * lengths) / middle_depth + 0.02, counts)
    key = ratio + _APART * owner  # Ratios of one instance lie together, far from those of the next.
    first, last = np.arange(len(key)), np.searchsorted(key, key + spread, side="right")
    middle = ratio[(first + last - 1) // 2]
    value = (last - first) * np.exp(-np.abs(np.log(middle)) / 0.3)
    for number, start, count in zip(numbers.tolist(), starts.tolist(), counts.tolist()):
        best = start + int(np.argmax(value[start : start + count]))
        if last[best] - best >= _MIN_LIDAR_POINTS and 0.5 <= middle[best] <= 2.0:
            scale[number], groups[number] = middle[best], returns[best : last[best]]
    return scale, groups


def _returns_on(instances: list[Instance], cloud: CameraCloud) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (R,) number of the instance, row of `cloud`, and the instance's depth [m] at returns on visible masks.

    At most 200 returns, spread evenly, are taken of each instance, and only where its depth is usable; instances with
    fewer than three are left out.
    """
    ids = [each.instance_id for each in instances]
    number_of = np.full(max(1 << 16, max(ids) + 1), -1)  # The cloud's segments are 16 bit.
    number_of[ids] = np.arange(len(instances))
    owner = number_of[cloud.segment]
    returns = np.flatnonzero(owner >= 0)
    returns = returns[np.argsort(owner[returns], kind="stable")]
    owner = owner[returns]
    counts = np.bincount(owner, minlength=len(instances))
    _, place = members(counts)
    taken = place % np.maximum(1, -(-counts // _LIDAR_SAMPLES))[owner] == 0
    owner, returns = owner[taken], returns[taken]
    predicted = np.full(len(owner), np.nan, np.float32)
    bounds = np.searchsorted(owner, np.arange(len(instances) + 1)).tolist()
    for each, start, end in zip(instances, bounds, bounds[1:]):
        if end - start >= _MIN_LIDAR_POINTS:
            predicted[start:end] = _depth_at(each, cloud.columns[returns[start:end]], cloud.rows[returns[start:end]])
    usable = (predicted > MIN_DEPTH) & (predicted < MAX_DEPTH)
    usable &= (np.bincount(owner[usable], minlength=len(instances)) >= _MIN_LIDAR_POINTS)[owner]
    return owner[usable], returns[usable], predicted[usable]


def _depth_at(instance: Instance, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Amodal depth at (R,) pixels of the image, NaN outside of the mask."""
    mask = instance.amodal_mask
    row, column = rows - mask.y_offset, columns - mask.x_offset
    inside = (row >= 0) & (row < mask.height) & (column >= 0) & (column < mask.width)
    if inside.all():
        return instance.depth[row, column]
    depth = np.full(len(row), np.nan, np.float32)
    depth[inside] = instance.depth[row[inside], column[inside]]
    return depth


def _medians(ordered: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Medians of groups of ascending values that stand one after the other."""
    return (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2.0


def _depth_stddev(instance: Instance, depth: np.ndarray) -> float:
    stddev = float(instance.amodal_depth_stddev)
    if np.isfinite(stddev) and stddev >= 0:
        return stddev
    return _UNKNOWN_RELATIVE_STDDEV * float(np.median(depth))
