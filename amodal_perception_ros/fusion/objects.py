"""Instances of all cameras become upright 3-D boxes, hidden parts included."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from amodal_perception_ros.fusion.boxes import UprightBox, fit_box
from amodal_perception_ros.fusion.evidence import ObjectEvidence, gather_evidence
from amodal_perception_ros.fusion.geometry import (
    CameraCloud,
    lidar_in_base,
    require_pose,
    see_cloud,
    transform,
    yaw_of,
)
from amodal_perception_ros.fusion.priors import SIZES
from amodal_perception_ros.scene import AmodalObject, Instance, SurroundFrame, SurroundScene


@dataclass(eq=False)
class PlacedObject:
    """The evidence of one object and the box fitted to it, in base_link, with the instances that show it."""

    evidence: ObjectEvidence
    box: UprightBox
    instances: tuple[Instance, ...] = ()


def lift_objects(frame: SurroundFrame, scene: SurroundScene) -> list[AmodalObject]:
    """Lift every instance of every camera to an upright box; views of one object in several cameras are merged.

    Each instance's amodal depth, scaled by the LiDAR returns on its visible mask when there are some, is fitted with
    a box (`boxes.fit_box`). Two views from different cameras are one object when both carry the same track id or,
    without track ids, when the classes agree and the centres are closer than a gate of half the typical length plus
    the distance's standard deviation (at least 0.7 m), or when image borders cut both and one's surface meets the
    other's box, up to the distance of the two cameras plus 0.5 m or one standard deviation. Joined
    evidence is fitted again.

    What this is not: there is no memory (`tracks` has one; track_id stays what the instance carries), no
    velocity (NaN), no motion compensation between the sensors' stamps, and no refinement of the box over time. Front
    and back are not told apart: the heading is the one within 90 degrees of the vehicle's own.

    Returns:
        Objects sorted by distance, in odom when `frame.odom_from_base` is there, else in base_link. `last_seen_ns`
        is the frame's stamp, or 0 for an object of which nothing is visible.

    Raises:
        FusionError: the odometry pose is there but not finite or not rigid.
    """
    pose = np.eye(4) if frame.odom_from_base is None else require_pose(frame.odom_from_base, frame.stamp_ns)
    points = lidar_in_base(frame)
    return to_objects(place(scene, points, see_cloud(points, scene)), pose, frame.stamp_ns)


def place(scene: SurroundScene, points: np.ndarray | None, clouds: dict[str, CameraCloud]) -> list[PlacedObject]:
    """Return the objects of a set with their evidence, in base_link, sorted by distance.

    Args:
        scene: what the cameras perceived.
        points: (N, 3) float32 LiDAR cloud in base_link, or None.
        clouds: the cloud as each camera sees it (`geometry.see_cloud`).
    """
    placed: list[PlacedObject] = []
    for name, camera_scene in scene.cameras.items():
        for instance in camera_scene.instances:
            alone = replace(camera_scene, instances=[instance])
            for evidence in gather_evidence(alone, clouds.get(name), points):
                _merge_or_add(placed, PlacedObject(evidence, _fit(evidence), (instance,)))
    return sorted(placed, key=lambda one: math.hypot(*one.box.center[:2]))


def _merge_or_add(placed: list[PlacedObject], new: PlacedObject) -> None:
    """Join the nearest object that passes the gate, else add a new one."""
    partners = [(_gate(other, new), number) for number, other in enumerate(placed)]
    ratio, number = min(partners, default=(np.inf, -1))
    if ratio >= 1.0:
        placed.append(new)
        return
    joined = placed[number].evidence.join(new.evidence)
    placed[number] = PlacedObject(joined, _fit(joined), placed[number].instances + new.instances)


def _gate(first: PlacedObject, second: PlacedObject) -> float:
    """Distance of the centres over the largest distance at which they are one object; infinite when they cannot be."""
    a, b = first.evidence, second.evidence
    if a.class_id != b.class_id or set(a.views) & set(b.views):
        return float("inf")
    if a.track_id and b.track_id:
        return 0.0 if a.track_id == b.track_id else float("inf")
    distance = math.dist(first.box.center[:2], second.box.center[:2])
    ratio = distance / max(0.7, 0.5 * SIZES[a.class_id].length + min(a.stddev, b.stddev))
    if a.is_cut and b.is_cut and distance < 2.0 * SIZES[a.class_id].length:
        # Between two cameras whose fields of view just meet lies a blind strip as wide as the cameras are apart.
        blind = math.dist(a.viewpoint[:2], b.viewpoint[:2])
        gap = min(_gap(a.points, second.box), _gap(b.points, first.box))
        ratio = min(ratio, gap / (blind + max(0.5, min(a.stddev, b.stddev))))
    return ratio


def _gap(points: np.ndarray, box: UprightBox) -> float:
    """Smallest horizontal distance from (N, 3) points to a box [m]."""
    cos, sin = math.cos(box.yaw), math.sin(box.yaw)
    x, y = points[:, 0] - box.center[0], points[:, 1] - box.center[1]
    along = np.maximum(np.abs(cos * x + sin * y) - box.size[0] / 2, 0.0)
    across = np.maximum(np.abs(cos * y - sin * x) - box.size[1] / 2, 0.0)
    return float(np.hypot(along, across).min())


def _fit(evidence: ObjectEvidence) -> UprightBox:
    surface = np.concatenate([evidence.points, evidence.lidar])
    return fit_box(surface, evidence.class_id, evidence.viewpoint, shape=evidence.lidar)


def to_objects(placed: list[PlacedObject], pose: np.ndarray, stamp_ns: int) -> list[AmodalObject]:
    """Turn objects in base_link into objects of the frame that the (4, 4) pose leads to."""
    return [_to_object(one, pose, stamp_ns) for one in placed]


def _to_object(placed: PlacedObject, pose: np.ndarray, stamp_ns: int) -> AmodalObject:
    evidence, box = placed.evidence, placed.box
    heading = box.yaw + yaw_of(pose)
    return AmodalObject(
        track_id=evidence.track_id,
        class_id=evidence.class_id,
        existence_probability=float(np.clip(evidence.score, 0.0, 1.0)),
        center=transform(box.center[None], pose)[0],
        size=box.size,
        yaw=float(np.arctan2(np.sin(heading), np.cos(heading))),
        velocity=np.full(3, np.nan),
        position_stddev=evidence.stddev,
        visible_fraction=evidence.visible_area / evidence.amodal_area if evidence.amodal_area else 0.0,
        cameras=evidence.cameras,
        last_seen_ns=stamp_ns if evidence.visible_area else 0,
    )
