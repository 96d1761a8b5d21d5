"""What each camera and the LiDAR say about where one object is: surface points in base_link."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.fusion.geometry import MAX_DEPTH, MIN_DEPTH, CameraCloud, lift_pixels
from amodal_perception_ros.fusion.priors import SIZES
from amodal_perception_ros.scene import Camera, CameraScene, Instance

_SAMPLES_PER_SIDE = 14
_LIDAR_SAMPLES = 200
_MIN_LIDAR_POINTS = 3
_LIDAR_STDDEV = 0.15
_UNKNOWN_RELATIVE_STDDEV = 0.1


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
        visible_area, amodal_area: pixels of the masks.
        is_cut: the image's left or right border cuts the amodal mask.
        cameras: cameras that see a part of it.
        views: cameras that the evidence comes from.
    """

    class_id: int
    track_id: int
    score: float
    points: np.ndarray
    visible: np.ndarray
    lidar: np.ndarray
    viewpoint: np.ndarray
    stddev: float
    visible_area: int
    amodal_area: int
    is_cut: bool
    cameras: tuple[str, ...]
    views: tuple[str, ...]

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
            visible_area=main.visible_area + side.visible_area,
            amodal_area=main.amodal_area + side.amodal_area,
            is_cut=main.is_cut or side.is_cut,
            cameras=main.cameras + side.cameras,
            views=main.views + side.views,
        )


def gather_evidence(scene: CameraScene, cloud: CameraCloud | None, points: np.ndarray | None) -> list[ObjectEvidence]:
    """Lift every instance of a camera; those without any usable depth cannot be placed and are left out.

    With at least three LiDAR returns on the visible mask, the whole amodal depth is scaled so that it agrees with
    them: the network gives the shape, the LiDAR the distance.

    Args:
        scene: what the camera perceived.
        cloud: the LiDAR as this camera sees it, or None.
        points: (P, 3) float32 base_link cloud that `cloud.index` refers to, or None.
    """
    found = []
    for instance in scene.instances:
        returns = _returns_on(instance, cloud) if cloud is not None else np.zeros(0, np.int64)
        evidence = _lift(instance, scene.camera, cloud, points, returns)
        if evidence is not None:
            found.append(evidence)
    return found


def _returns_on(instance: Instance, cloud: CameraCloud) -> np.ndarray:
    on_mask = np.flatnonzero(cloud.segment == instance.instance_id)
    step = max(1, -(-len(on_mask) // _LIDAR_SAMPLES))
    return on_mask[::step]


def _lift(
    instance: Instance, camera: Camera, cloud: CameraCloud | None, points: np.ndarray | None, returns: np.ndarray
) -> ObjectEvidence | None:
    mask = instance.amodal_mask
    rows = np.arange(0, mask.height, max(1, mask.height // _SAMPLES_PER_SIDE))
    columns = np.arange(0, mask.width, max(1, mask.width // _SAMPLES_PER_SIDE))
    depth = instance.depth[np.ix_(rows, columns)]
    usable = (depth > MIN_DEPTH) & (depth < MAX_DEPTH)
    if not usable.any():
        return None
    scale, surface = 1.0, np.zeros((0, 3), np.float32)
    if cloud is not None and points is not None:
        scale, anchors = _lidar_anchor(instance, cloud, returns)
        surface = points[cloud.index[anchors]]
    picked_row, picked_column = np.nonzero(usable)
    row, column = rows[picked_row], columns[picked_column]
    seen = instance.visible_mask.window(mask.x_offset, mask.y_offset, mask.width, mask.height)[row, column]
    lifted = lift_pixels(camera, column + mask.x_offset, row + mask.y_offset, depth[usable] * scale)
    visible_area = instance.visible_mask.area
    return ObjectEvidence(
        class_id=instance.class_id,
        track_id=instance.track_id,
        score=float(instance.score),
        points=lifted,
        visible=seen,
        lidar=surface,
        viewpoint=camera.base_from_camera[:3, 3],
        stddev=_LIDAR_STDDEV if len(surface) else _depth_stddev(instance, float(np.median(depth[usable]))),
        visible_area=visible_area,
        amodal_area=mask.area,
        is_cut=mask.x_offset <= 0 or mask.x_offset + mask.width >= camera.width,
        cameras=(camera.name,) if visible_area else (),
        views=(camera.name,),
    )


def _lidar_anchor(instance: Instance, cloud: CameraCloud, returns: np.ndarray) -> tuple[float, np.ndarray]:
    """Ratio of the LiDAR's depth to the instance's at the same pixels, and the returns that agree with it.

    Some returns on a mask lie elsewhere (seen through windows, past edges, from the LiDAR's other viewpoint). So the
    ratio is the median of the densest group of ratios whose spread fits the object's size, weighted by its
    plausibility exp(-|log ratio| / 0.3). With fewer than three returns, or a ratio outside [0.5, 2], the ratio is 1
    and no return counts.
    """
    mask = instance.amodal_mask
    row, column = cloud.rows[returns] - mask.y_offset, cloud.columns[returns] - mask.x_offset
    inside = (row >= 0) & (row < mask.height) & (column >= 0) & (column < mask.width)
    returns, predicted = returns[inside], instance.depth[row[inside], column[inside]]
    usable = (predicted > MIN_DEPTH) & (predicted < MAX_DEPTH)
    returns, predicted = returns[usable], predicted[usable]
    order = np.argsort(cloud.depth[returns] / predicted, kind="stable")
    returns, ratio = returns[order], (cloud.depth[returns] / predicted)[order]
    if len(ratio) < _MIN_LIDAR_POINTS:
        return 1.0, returns[:0]
    spread = 2.0 * max(0.3, 0.2 * SIZES[instance.class_id].length) / float(np.median(predicted)) + 0.02
    last = np.searchsorted(ratio, ratio + spread, side="right")
    first = np.arange(len(ratio))
    middle = ratio[(first + last - 1) // 2]
    best = int(np.argmax((last - first) * np.exp(-np.abs(np.log(middle)) / 0.3)))
    scale, group = float(middle[best]), returns[best : last[best]]
    return (scale, group) if len(group) >= _MIN_LIDAR_POINTS and 0.5 <= scale <= 2.0 else (1.0, returns[:0])


def _depth_stddev(instance: Instance, depth: float) -> float:
    stddev = float(instance.amodal_depth_stddev)
    return stddev if np.isfinite(stddev) and stddev >= 0 else _UNKNOWN_RELATIVE_STDDEV * depth
