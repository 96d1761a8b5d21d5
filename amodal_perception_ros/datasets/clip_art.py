"""Clip-art compositing: amodal truth from modal labels, by pasting fully visible objects over other images.

D2S amodal augmented (Follmann et al., section 4.3), Clip Art WALT ("composite unoccluded objects in their original
positions so their perspectives are correct") and ADIW (Amodal Depth Anything) paste without knowing depth. Here a
pasted object stands on visible ground at the depth of that ground, is scaled by it, keeps about the angle at which
its camera saw it, does not cut into other objects, and what is nearer stays in front of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from amodal_perception_ros.datasets.cutouts import GROUND, Cutout, find_cutouts, with_contact_depth
from amodal_perception_ros.labels import BY_ID, BY_NAME, MAX_INSTANCE_NUMBER, SEGMENT_FACTOR, THINGS, segment_id
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.occlusion import Layer, ordered, pairwise_overlap
from amodal_perception_ros.scene import CameraScene, Instance, Rig, Sample

_CARRIERS = {
    "person": ("road", "sidewalk", "terrain"), "bike": ("road", "sidewalk"), "motorcycle": ("road", "sidewalk"),
    "car": ("road",), "truck": ("road",), "bus": ("road",),
}  # fmt: skip
_HALF_LENGTH = {"person": 0.3, "rider": 0.9, "bike": 0.9, "motorcycle": 1.1, "car": 2.3, "truck": 4.0, "bus": 6.0}
"""Half the length of a usual object [m]: how far apart in depth two must be that overlap in the image."""

MIN_SCALE, MAX_SCALE = 0.35, 1.5
MAX_TURN = 0.35
"""Largest change of the tangent of the viewing angle."""

MAX_GAIN = 1.6
MIN_VISIBLE_SHARE, MIN_VISIBLE_PX = 0.1, 40
_TRIES = 30
_SHADE = 0.45
"""Darkening of the ground in the middle of a contact shadow."""


@dataclass(eq=False)
class Composite:
    """A composited image and its truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        scene: its truth; pasted objects have complete amodal masks and depth.
        pasted: instance ids of the pasted objects, in the order of pasting.
        rejected: objects that found no plausible place, by cause of the last try.
    """

    image: np.ndarray
    scene: CameraScene
    pasted: list[int] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, eq=False)
class _Placed:
    """A cutout scaled and moved into a target image."""

    class_id: int
    left: int
    top: int
    image: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    distance: float

    @property
    def window(self) -> tuple[slice, slice]:
        height, width = self.depth.shape
        return np.s_[self.top : self.top + height, self.left : self.left + width]


def composite(image: np.ndarray, scene: CameraScene, cutouts: Sequence[Cutout], rng: np.random.Generator) -> Composite:
    """Paste objects into an image, each at a plausible place.

    Amodal masks that `scene` has stay as they are; with `cutouts.modal_scene` the truth of the hidden parts comes
    from modal labels alone (things that were hidden before keep an amodal mask that is too small).

    Args:
        image: (H, W, 3) uint8 RGB target.
        scene: its labels, with depth (`cutouts.with_contact_depth` where the data has none).
        cutouts: what to paste; an object without a plausible place is left out and counted.
        rng: chooses the places.
    """
    result = Composite(image.copy(), scene)
    for cutout in cutouts:
        placed = _find_place(result, cutout, rng)
        if isinstance(placed, str):
            result.rejected[placed] += 1
        else:
            _paste(result, placed)
    result.scene = _ordered(result.scene, result.pasted)
    return result


def _find_place(target: Composite, cutout: Cutout, rng: np.random.Generator) -> _Placed | str:
    """Return the first plausible place that overlaps another thing, else any plausible one, else the cause."""
    scene = target.scene
    carriers = [BY_NAME[name].id for name in _CARRIERS[BY_ID[cutout.class_id].name]]
    bearing = (np.arange(scene.camera.width) + 0.5 - scene.camera.intrinsics[0, 2]) / scene.camera.intrinsics[0, 0]
    ratio = cutout.distance * scene.camera.intrinsics[0, 0] / cutout.focal
    with np.errstate(invalid="ignore"):
        fits = np.isin(scene.labels // SEGMENT_FACTOR, carriers) & np.isfinite(scene.depth)
        fits &= (ratio / scene.depth > MIN_SCALE) & (ratio / scene.depth < MAX_SCALE)
        fits &= (np.abs(bearing - cutout.bearing) < MAX_TURN)[None]
    rows, columns = np.nonzero(fits)
    if not len(rows):
        return "no ground at a fitting distance"
    free: _Placed | None = None
    cause = ""
    for k in rng.integers(len(rows), size=_TRIES):
        placed = _scaled(cutout, scene, int(rows[k]), int(columns[k]), ratio, target.image)
        problem = _problem(scene, placed) if placed is not None else "leaves the image"
        if placed is None or problem:
            cause = problem
        elif _overlaps_thing(scene, placed):
            return placed
        else:
            free = free or placed
    return free or cause


def _scaled(
    cutout: Cutout, scene: CameraScene, row: int, column: int, ratio: float, image: np.ndarray
) -> _Placed | None:
    """Put the lowest point of a cutout on a ground pixel; None where that leaves the image."""
    distance = float(scene.depth[row, column])
    scale = ratio / distance
    height, width = (max(2, round(side * scale)) for side in cutout.mask.shape)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    alpha = cv2.resize(cutout.mask.astype(np.float32), (width, height), interpolation=way)
    inside = alpha > 0.5
    if not inside.any():
        return None
    foot_row = int(np.flatnonzero(inside.any(1))[-1])
    foot_column = round(float(np.flatnonzero(inside[foot_row]).mean()))
    left, top = column - foot_column, row - foot_row
    if left < 0 or top < 0 or left + width > scene.camera.width or top + height > scene.camera.height:
        return None
    relief = np.where(cutout.mask, cutout.depth - np.float32(cutout.distance), np.float32(0))
    relief = cv2.resize(relief, (width, height), interpolation=cv2.INTER_NEAREST)
    depth = np.where(inside, np.maximum(relief + np.float32(distance), np.float32(0.1)), np.float32(np.nan))
    gain = float(np.clip((image.mean() + 1) / (cutout.brightness + 1), 1 / MAX_GAIN, MAX_GAIN))
    patch = np.clip(cv2.resize(cutout.image, (width, height), interpolation=way) * gain, 0, 255)
    return _Placed(cutout.class_id, left, top, patch, alpha * inside, depth.astype(np.float32), distance)


def _problem(scene: CameraScene, placed: _Placed) -> str:
    """Why a place is not plausible; empty where it is."""
    inside = np.isfinite(placed.depth)
    classes = scene.labels[placed.window] // SEGMENT_FACTOR
    before = scene.depth[placed.window]
    visible = _in_front(placed, scene)
    if visible.sum() < max(MIN_VISIBLE_PX, MIN_VISIBLE_SHARE * inside.sum()):
        return "would be hidden"
    reach = _HALF_LENGTH[BY_ID[placed.class_id].name]
    mask = RoiMask.from_array(inside, placed.left, placed.top)
    for other in scene.instances:
        apart = reach + _HALF_LENGTH[BY_ID[other.class_id].name]
        if abs(other.amodal_depth - placed.distance) < apart and mask.intersection_area(other.amodal_mask):
            return "would cut into another object"
    solid = inside & ~np.isin(classes, (*GROUND, *(label.id for label in THINGS)))
    with np.errstate(invalid="ignore"):
        if np.count_nonzero(solid & (np.abs(before - placed.depth) < reach)) > 0.02 * inside.sum():
            return "would cut into something static"
    rows = np.flatnonzero(inside.any(1))
    feet = inside & (np.arange(len(inside))[:, None] > rows[-1] - max(1, len(rows) // 20))
    carried = feet & (np.isin(classes, GROUND) | ~visible)
    return "" if carried.sum() >= 0.7 * feet.sum() else "would not stand on the ground"


def _in_front(placed: _Placed, scene: CameraScene) -> np.ndarray:
    """Pixels at which the object is nearer than what the image shows; ground never hides it."""
    ground = np.isin(scene.labels[placed.window] // SEGMENT_FACTOR, GROUND)
    before = np.where(ground, np.inf, scene.depth[placed.window])
    return np.isfinite(placed.depth) & ~(before < placed.depth * np.float32(0.98))


def _overlaps_thing(scene: CameraScene, placed: _Placed) -> bool:
    mask = RoiMask.from_array(np.isfinite(placed.depth), placed.left, placed.top)
    return any(mask.intersection_area(other.visible_mask) > 20 for other in scene.instances)


def _paste(target: Composite, placed: _Placed) -> None:
    """Draw a placed object into the image and take what it hides from the others' visible masks."""
    scene, window = target.scene, placed.window
    visible = _in_front(placed, scene)
    _shade_ground(target, placed)
    weight = (placed.alpha * visible)[..., None]
    pixels = target.image[window] * (1 - weight) + placed.image * weight
    target.image[window] = np.rint(pixels).astype(np.uint8)
    segment = segment_id(placed.class_id, _free_number(scene))
    labels, depth = scene.labels.copy(), scene.depth.copy()
    labels[window][visible] = segment
    depth[window][visible] = placed.depth[visible]
    covering = RoiMask.from_array(visible, placed.left, placed.top)
    others = [_covered(other, covering) for other in scene.instances]
    target.scene = replace(scene, labels=labels, depth=depth, instances=[*others, _instance(placed, segment, covering)])
    target.pasted.append(segment)


def _shade_ground(target: Composite, placed: _Placed) -> None:
    """Darken the visible ground around the lowest points of every column: objects without contact shadow float."""
    height, width = placed.depth.shape
    inside = np.isfinite(placed.depth)
    pad = max(2, round(0.12 * width))
    below = np.zeros((height + 2 * pad, width + 2 * pad), np.float32)
    lowest = height - 1 - np.argmax(inside[::-1], 0)
    near_ground = inside.any(0) & (lowest > 0.8 * height)
    below[lowest[near_ground] + pad, np.flatnonzero(near_ground) + pad] = 1
    below = cv2.dilate(below, np.ones((max(1, pad // 2), 1), np.uint8))
    blurred = cv2.GaussianBlur(below, (0, 0), 0.5 * pad)
    shade = blurred * (_SHADE / max(float(blurred.max()), 1e-6))
    camera, top, left = target.scene.camera, placed.top - pad, placed.left - pad
    rows = slice(max(0, top), min(camera.height, top + len(shade)))
    columns = slice(max(0, left), min(camera.width, left + shade.shape[1]))
    part = shade[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    with np.errstate(invalid="ignore"):
        ground = np.isin(target.scene.labels[rows, columns] // SEGMENT_FACTOR, GROUND)
    factor = np.where(ground, 1 - part, 1)[..., None]
    target.image[rows, columns] = np.rint(target.image[rows, columns] * factor).astype(np.uint8)


def _covered(instance: Instance, covering: RoiMask) -> Instance:
    if not instance.visible_mask.intersection_area(covering):
        return instance
    visible = instance.visible_mask - covering
    window = visible.window(*instance.amodal_mask.box[:2], instance.amodal_mask.width, instance.amodal_mask.height)
    depth = float(np.median(instance.depth[window])) if window.any() else float("nan")
    return replace(instance, visible_mask=visible, visible_depth=depth)


def _instance(placed: _Placed, segment: int, visible: RoiMask) -> Instance:
    inside = np.isfinite(placed.depth)
    amodal = RoiMask.from_array(inside, placed.left, placed.top)
    left, top, right, bottom = amodal.box
    depth = placed.depth[top - placed.top : bottom - placed.top, left - placed.left : right - placed.left]
    seen = visible.window(left, top, right - left, bottom - top)
    return Instance(
        instance_id=segment,
        class_id=placed.class_id,
        score=1.0,
        visible_mask=visible,
        amodal_mask=amodal,
        occlusion_level=0,
        visible_depth=float(np.median(depth[seen])),
        amodal_depth=float(np.nanmedian(depth)),
        amodal_depth_stddev=float("nan"),
        depth=depth,
        track_id=0,
    )


def _free_number(scene: CameraScene) -> int:
    """The largest instance number that no thing of the scene has, so that track ids of sequences stay unique."""
    used = {instance.instance_id % SEGMENT_FACTOR for instance in scene.instances}
    return next(number for number in range(MAX_INSTANCE_NUMBER, 0, -1) if number not in used)


def _ordered(scene: CameraScene, pasted: Sequence[int]) -> CameraScene:
    """Add the edges of pasted objects to the occlusion order, by the depths of the whole objects; recompute levels."""
    ids = [instance.instance_id for instance in scene.instances]
    layers = [Layer(i.instance_id, *i.amodal_mask.box[:2], np.nan_to_num(i.depth)) for i in scene.instances]
    overlap, occludes = pairwise_overlap(layers)
    number = {segment: k for k, segment in enumerate(ids)}
    new = np.isin(ids, pasted)
    occludes &= new[:, None] | new[None]
    edges = zip(scene.order.occluder_ids.tolist(), scene.order.occludee_ids.tolist(), scene.order.overlap_px.tolist())
    for occluder, occludee, pixels in edges:
        occludes[number[occluder], number[occludee]] = True
        overlap[number[occluder], number[occludee]] = pixels
    order, levels = ordered(ids, overlap, occludes, [instance.amodal_depth for instance in scene.instances])
    instances = [replace(i, occlusion_level=level) for i, level in zip(scene.instances, levels)]
    return replace(scene, instances=instances, order=order)


def sample_cutouts(sample: Sample) -> list[Cutout]:
    """Return the fully visible objects in all images of a sample."""
    return [
        cutout
        for name, scene in sample.truth.cameras.items()
        if name in sample.frame.images
        for cutout in find_cutouts(sample.frame.images[name], _with_some_depth(scene))
    ]


def composite_sample(
    sample: Sample, pool: Sequence[Cutout], rng: np.random.Generator, objects: tuple[int, int] = (1, 5)
) -> tuple[Sample, Counter[str]]:
    """Paste objects into all images of a sample and into its LiDAR sweep.

    LiDAR points behind a pasted object are moved onto it along their ray. 3-D boxes, BEV, flow, rings and segments of
    points do not know the pasted objects and are left out; so is depth that only follows from ground contact. A pasted
    object belongs to one image: the same id in another image is another object.

    Args:
        sample: the target.
        pool: objects to choose from.
        rng: chooses objects and places.
        objects: least and largest number of objects to try per image.

    Returns:
        The new sample, and how many objects were "pasted" or rejected, by cause.
    """
    scenes, images = dict(sample.truth.cameras), dict(sample.frame.images)
    lidar, counts = sample.frame.lidar, Counter[str]()
    for name in [name for name in scenes if name in images]:
        number = int(rng.integers(objects[0], objects[1] + 1)) if pool else 0
        chosen = [pool[k] for k in rng.integers(max(1, len(pool)), size=number)]
        scene = _with_some_depth(scenes[name])
        result = composite(images[name], scene, chosen, rng)
        counts.update(result.rejected)
        counts["pasted"] += len(result.pasted)
        if lidar is not None and result.pasted:
            lidar = _moved_points(lidar, sample.frame.rig, name, result)
        images[name] = result.image
        scenes[name] = result.scene if scene is scenes[name] else _without_depth(result.scene)
    frame = replace(sample.frame, images=images, lidar=lidar)
    unknown: dict[str, Any] = dict.fromkeys(("bev", "point_segments", "point_rings", "bev_image", "bev_labels"))
    truth = replace(sample.truth, cameras=scenes)
    return replace(sample, frame=frame, truth=truth, objects=[], flow={}, **unknown), counts


def _with_some_depth(scene: CameraScene) -> CameraScene:
    return scene if np.isfinite(scene.depth).any() else with_contact_depth(scene)


def _without_depth(scene: CameraScene) -> CameraScene:
    nothing = float("nan")
    instances = [
        replace(i, depth=np.full_like(i.depth, np.nan), visible_depth=nothing, amodal_depth=nothing)
        for i in scene.instances
    ]
    return replace(scene, depth=np.full_like(scene.depth, np.nan), instances=instances)


def _moved_points(lidar: np.ndarray, rig: Rig, name: str, result: Composite) -> np.ndarray:
    """Pull points behind pasted objects onto them, along the rays of the camera (the LiDAR stands close to it)."""
    camera = rig.camera(name)
    lidar_from_camera = np.linalg.inv(rig.base_from_lidar) @ camera.base_from_camera
    camera_from_lidar = np.linalg.inv(lidar_from_camera)
    points = lidar[:, :3] @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
    ahead = np.flatnonzero(points[:, 2] > 0.1)
    pixel = points[ahead, :2] / points[ahead, 2:] * np.diag(camera.intrinsics)[:2] + camera.intrinsics[:2, 2]
    inside = ((pixel >= 0) & (pixel < (camera.width, camera.height))).all(1)
    ahead, (column, row) = ahead[inside], pixel[inside].astype(np.int64).T
    depth = result.scene.depth[row, column]
    hit = np.isin(result.scene.labels[row, column], result.pasted) & (points[ahead, 2] > depth)
    moved = points[ahead[hit]] * (depth[hit] / points[ahead[hit], 2])[:, None]
    out = lidar.copy()
    out[ahead[hit], :3] = moved @ lidar_from_camera[:3, :3].T + lidar_from_camera[:3, 3]
    return out
