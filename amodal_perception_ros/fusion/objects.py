"""Instances of all cameras become upright 3-D boxes, hidden parts included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.fusion.boxes import Surface, UprightBox, fit_boxes, rotated_covariance
from amodal_perception_ros.fusion.evidence import ObjectEvidence, gather_evidence
from amodal_perception_ros.fusion.geometry import (
    CameraCloud,
    compensated,
    lidar_in_base,
    require_pose,
    see_cloud,
    transform,
    yaw_of,
)
from amodal_perception_ros.fusion.priors import SIZES
from amodal_perception_ros.scene import UNKNOWN_VARIANCE, AmodalObject, SurroundFrame, SurroundScene, largest_stddev

_GATE = 9.21
"""99 % quantile of the chi-square distribution with two degrees of freedom."""

_VIEW_STDDEV = 0.4
"""Standard deviation between the centres of two views' boxes, beyond their own: each shows another part [m]."""

_SURFACE_STDDEV = 0.1
"""Standard deviation of the seen surface about the side of the box that it is taken for [m]."""

_ACROSS_STDDEV = 0.15
"""Most that a box's centre is taken to be off across the line of sight, where the image shows its place [m]."""

_GROUND_STDDEV = 0.1
"""Standard deviation of the ground's height under an object [m]."""


@dataclass(eq=False)
class PlacedObject:
    """The evidence of one object and the box fitted to it, in base_link."""

    evidence: ObjectEvidence
    box: UprightBox


def lift_objects(frame: SurroundFrame, scene: SurroundScene) -> list[AmodalObject]:
    """Lift every instance of every camera to an upright box; views of one object in several cameras are merged.

    Each instance's amodal depth, scaled by the LiDAR returns on its visible mask when there are some, is fitted with
    a box (`boxes.fit_box`). Two views from different cameras are one object when both carry the same track id or,
    without track ids, when the classes agree and the centres agree within their covariances (99 %), or when image
    borders cut both and one's surface meets the other's box, up to the distance of the two cameras plus 0.5 m or one
    standard deviation, at most half the typical length. Joined evidence is fitted again.

    What this is not: there is no memory (`tracks` has one; track_id stays what the instance carries), no velocity
    (NaN), and no refinement of the box over time. Front and back are not told apart: the heading is the one within
    90 degrees of the vehicle's own.

    Returns:
        Objects sorted by distance, in odom when `frame.odom_from_base` is there, else in base_link. `last_seen_ns`
        is the frame's stamp, or 0 for an object of which nothing is visible.

    Raises:
        FusionError: the odometry pose is there but not finite or not rigid.
    """
    pose = np.eye(4) if frame.odom_from_base is None else require_pose(frame.odom_from_base, frame.stamp_ns)
    frame, scene = compensated(frame, scene)
    points = lidar_in_base(frame)
    return to_objects(place(scene, points, see_cloud(points, scene)), pose, frame.stamp_ns)


def place(scene: SurroundScene, points: np.ndarray | None, clouds: dict[str, CameraCloud]) -> list[PlacedObject]:
    """Return the objects of a set with their evidence, in base_link, sorted by distance.

    Args:
        scene: what the cameras perceived.
        points: (N, 3) float32 LiDAR cloud in base_link, or None.
        clouds: the cloud as each camera sees it (`geometry.see_cloud`).
    """
    return merge([gather_evidence(each, clouds.get(name), points) for name, each in scene.cameras.items()])


def merge(views: list[list[ObjectEvidence]]) -> list[PlacedObject]:
    """Fit boxes to the evidence of each camera, join views of one object, and return the objects by distance."""
    boxes = iter(_fit([evidence for found in views for evidence in found]))
    placed: list[PlacedObject] = []
    for found in views:
        _add_view(placed, [PlacedObject(evidence, next(boxes)) for evidence in found])
    return sorted(placed, key=lambda one: math.hypot(*one.box.center[:2]))


def _add_view(placed: list[PlacedObject], view: list[PlacedObject]) -> None:
    """Join each object of one camera with the nearest one of the others that passes the gate, else add it.

    Objects of one camera never become one, so at most one of the view joins each object that was there.
    """
    if not placed or not view:
        placed.extend(view)
        return
    ratios = _gate(placed, view)
    joined = []
    for number, new in enumerate(view):
        partner = int(ratios[:, number].argmin())
        if ratios[partner, number] < 1.0:
            placed[partner].evidence = placed[partner].evidence.join(new.evidence)
            ratios[partner] = np.inf
            joined.append(partner)
        else:
            placed.append(new)
    for partner, box in zip(joined, _fit([placed[partner].evidence for partner in joined])):
        placed[partner].box = box


def _gate(placed: list[PlacedObject], view: list[PlacedObject]) -> np.ndarray:
    """How far two boxes are apart, over the farthest that one object's are; infinite when they cannot be of one object.

    That is the Mahalanobis distance of the centres over its 99 % quantile (Bar-Shalom et al., "Estimation with
    applications to tracking and navigation", 2001, section 3.3), or, for two that image borders cut, the distance of
    one's surface from the other's box over the width of the strip between the cameras.

    Returns:
        (p, v) float64 for every pair of an object that was there and one of the new view.
    """
    first, second = [one.evidence for one in placed], [one.evidence for one in view]
    tracks = [np.array([each.track_id for each in side]) for side in (first, second)]
    classes = [np.array([each.class_id for each in side]) for side in (first, second)]
    is_cut = [np.array([each.is_cut for each in side], bool) for side in (first, second)]
    lengths = np.array([SIZES[each.class_id].length for each in second])
    apart = (np.array([[one.box.center[:2]] for one in placed]) - [one.box.center[:2] for one in view])[..., None]
    covariance = _plane_covariances(placed)[:, None] + _plane_covariances(view) + _VIEW_STDDEV**2 * np.eye(2)
    ratio = np.sqrt((apart * np.linalg.solve(covariance, apart)).sum(axis=(2, 3)) / _GATE)
    same_class, tracked = np.equal.outer(*classes), np.logical_and.outer(*(ids > 0 for ids in tracks))
    near = np.hypot(apart[..., 0, 0], apart[..., 1, 0]) < 2.0 * lengths
    for i, j in np.argwhere(np.logical_and.outer(*is_cut) & near & same_class & ~tracked).tolist():
        # Between two cameras whose fields of view just meet lies a blind strip as wide as the cameras are apart.
        blind = math.dist(first[i].viewpoint[:2], second[j].viewpoint[:2])
        widest = min(blind + max(0.5, min(first[i].stddev, second[j].stddev)), lengths[j] / 2)
        gap = min(_gap(first[i].points, view[j].box), _gap(second[j].points, placed[i].box))
        ratio[i, j] = min(ratio[i, j], gap / max(0.3, widest))
    ratio = np.where(tracked, np.where(np.equal.outer(*tracks), 0.0, np.inf), ratio)
    return np.where(same_class, ratio, np.inf)


def _gap(points: np.ndarray, box: UprightBox) -> float:
    """Smallest horizontal distance from (N, 3) points to a box [m]."""
    cos, sin = math.cos(box.yaw), math.sin(box.yaw)
    x, y = points[:, 0] - box.center[0], points[:, 1] - box.center[1]
    along = np.maximum(np.abs(cos * x + sin * y) - box.size[0] / 2, 0.0)
    across = np.maximum(np.abs(cos * y - sin * x) - box.size[1] / 2, 0.0)
    return float(np.hypot(along, across).min())


def _fit(evidence: list[ObjectEvidence]) -> list[UprightBox]:
    return fit_boxes([Surface(np.concatenate([e.points, e.lidar]), e.class_id, e.viewpoint, e.lidar) for e in evidence])


def to_objects(placed: list[PlacedObject], pose: np.ndarray, stamp_ns: int) -> list[AmodalObject]:
    """Turn objects in base_link into objects of the frame that the (4, 4) pose leads to."""
    if not placed:
        return []
    centers = transform(np.array([one.box.center for one in placed]), pose)
    yaws = np.array([one.box.yaw for one in placed]) + yaw_of(pose)
    yaws = np.arctan2(np.sin(yaws), np.cos(yaws)).tolist()
    covariances = _pose_covariances(placed, pose)
    return [_to_object(*row, stamp_ns) for row in zip(placed, centers, yaws, covariances)]


def _pose_covariances(placed: list[PlacedObject], pose: np.ndarray) -> np.ndarray:
    """Return the (K, 6, 6) covariances of K >= 1 poses (`AmodalObject.covariance`) in the frame the pose leads to."""
    plane = _plane_covariances(placed)
    turn = pose[:2, :2]
    covariances = np.tile(np.diag(np.full(6, UNKNOWN_VARIANCE)), (len(placed), 1, 1))
    covariances[:, :2, :2] = turn @ plane @ turn.T
    covariances[:, 2, 2] = [height_variance(one.box) for one in placed]
    yaw = np.square([one.box.yaw_stddev for one in placed])
    covariances[:, 5, 5] = np.where(np.isfinite(yaw), yaw, UNKNOWN_VARIANCE)
    return covariances


def height_variance(box: UprightBox) -> float:
    """Variance of the centre's height, as uncertain as half of the box's and the ground's together [m^2]."""
    return float((box.size_stddev[2] / 2) ** 2 + _GROUND_STDDEV**2)


def _plane_covariances(placed: list[PlacedObject]) -> np.ndarray:
    """Return the (K, 2, 2) covariances of the boxes' centres in base_link's x and y [m^2].

    The distance and the place in the image are uncertain along and across the line of sight; what the unseen extents
    leave open comes on top (`UprightBox.covariance`).
    """
    evidence = [one.evidence for one in placed]
    stddev = np.array([(math.hypot(each.stddev, _SURFACE_STDDEV), each.across_stddev) for each in evidence])
    boxes = np.array([one.box.covariance for one in placed])
    return boxes + rotated_covariance(stddev, lines_of_sight(placed))


def sight_stddevs(placed: Sequence[PlacedObject]) -> np.ndarray:
    """Return the (K, 2) standard deviations of the objects' places along the line of sight and across it [m]."""
    along = np.array([one.evidence.stddev for one in placed], np.float64)
    return np.stack([along, np.minimum(_ACROSS_STDDEV, along)], 1)


def lines_of_sight(placed: Sequence[PlacedObject]) -> np.ndarray:
    """Return the (K,) directions in base_link's plane from the viewpoints to the boxes' centres [rad]."""
    sight = np.array([one.box.center[:2] - one.evidence.viewpoint[:2] for one in placed]).reshape(-1, 2)
    return np.arctan2(sight[:, 1], sight[:, 0])


def _to_object(
    placed: PlacedObject, center: np.ndarray, yaw: float, covariance: np.ndarray, stamp_ns: int
) -> AmodalObject:
    evidence = placed.evidence
    return AmodalObject(
        track_id=evidence.track_id,
        class_id=evidence.class_id,
        existence_probability=min(max(evidence.score, 0.0), 1.0),
        center=center,
        size=placed.box.size,
        yaw=yaw,
        velocity=np.full(3, np.nan),
        position_stddev=largest_stddev(covariance),
        visible_fraction=evidence.visible_fraction,
        cameras=evidence.cameras,
        last_seen_ns=stamp_ns if evidence.visible_area else 0,
        covariance=covariance,
        size_stddev=placed.box.size_stddev,
    )
