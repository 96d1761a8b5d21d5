"""Fully visible objects cut out of annotated images: the material of clip-art compositing.

Whether an object is fully visible is decided from modal labels (and depth where there is some) alone, as in the
data that Amodal Depth Anything (section "ADIW dataset construction": only complete objects are pasted) and WALT
("composite unoccluded objects") are made of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from amodal_perception_ros.labels import BY_NAME, SEGMENT_FACTOR
from amodal_perception_ros.scene import Camera, CameraScene, Instance, OcclusionOrder

GROUND = tuple(BY_NAME[name].id for name in ("road", "sidewalk", "terrain"))
"""Classes that carry objects and never hide a standing one."""

MAX_HIDING_SHARE = 0.01
"""Largest share of an object's outline along which something nearer may lie."""

RING_PX = 2
_NEARER = 0.03
"""Relative depth by which a neighbour must be nearer to count as in front."""

PASTED = tuple(BY_NAME[name].id for name in ("person", "car", "truck", "bus", "motorcycle", "bike"))
"""Classes that are cut out and pasted."""
_RIDER = BY_NAME["rider"].id
_DEFAULT_HEIGHT = 1.5


@dataclass(frozen=True, eq=False)
class Cutout:
    """A fully visible object.

    Attributes:
        class_id: Cityscapes id.
        image: (h, w, 3) uint8 RGB over the box of the mask, with what lies behind the object around it.
        mask: (h, w) bool.
        depth: (h, w) float32 planar depth [m], finite exactly inside the mask.
        distance: median of `depth` [m].
        focal: focal length of its camera [px].
        bearing: tangent of the horizontal angle at which the camera saw it.
        brightness: mean of the whole image it comes from, 0..255.
    """

    class_id: int
    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    distance: float
    focal: float
    bearing: float
    brightness: float


def find_cutouts(image: np.ndarray, scene: CameraScene, min_area: int = 400) -> list[Cutout]:
    """Return the objects of an image that nothing hides, from modal masks and depth alone.

    Args:
        image: (H, W, 3) uint8 RGB.
        scene: its labels; only `labels`, `depth` and the visible masks and depths are used. Where the depth is
            unknown everywhere, call it with `with_contact_depth(scene)`.
        min_area: least number of visible pixels.

    Riders and what they ride are left out: one without the other is no plausible object.
    """
    brightness = float(image.mean())
    return [
        _cut(image, scene, instance, brightness)
        for instance in scene.instances
        if instance.class_id in PASTED and instance.visible_mask.area >= min_area and is_unhidden(scene, instance)
    ]


def is_unhidden(scene: CameraScene, instance: Instance) -> bool:
    """Whether modal labels and depth show that nothing hides an object and that it lies inside the image.

    Along the outline just outside its visible mask at most `MAX_HIDING_SHARE` of the pixels may belong to
    something nearer that is not ground; a rider must not touch it; the image border must not cut it.
    """
    mask, camera = instance.visible_mask, scene.camera
    left, top, right, bottom = mask.box
    if left <= RING_PX or top <= RING_PX or right >= camera.width - RING_PX or bottom >= camera.height - RING_PX:
        return False
    window = np.s_[top - RING_PX : bottom + RING_PX, left - RING_PX : right + RING_PX]
    inside = np.pad(mask.roi(), RING_PX).astype(np.uint8)
    kernel = np.ones((2 * RING_PX + 1, 2 * RING_PX + 1), np.uint8)
    ring = (cv2.dilate(inside, kernel) > 0) & (inside == 0)
    classes, depth = scene.labels[window] // SEGMENT_FACTOR, scene.depth[window]
    own = _nearest_inside(inside > 0, depth)
    hiding = ring & ~np.isin(classes, (*GROUND, 0)) & (depth < own * (1 - _NEARER))
    touched = bool((ring & (classes == _RIDER)).any())
    return not touched and int(hiding.sum()) <= MAX_HIDING_SHARE * int(ring.sum())


def _nearest_inside(inside: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Depth of the nearest pixel of the mask at every pixel."""
    _, labels = cv2.distanceTransformWithLabels((~inside).astype(np.uint8), cv2.DIST_L2, 5,
                                                labelType=cv2.DIST_LABEL_PIXEL)  # fmt: skip
    table = np.zeros(labels.max() + 1, np.float32)
    table[labels[inside]] = depth[inside]
    return table[labels]


def _cut(image: np.ndarray, scene: CameraScene, instance: Instance, brightness: float) -> Cutout:
    left, top, right, bottom = instance.visible_mask.box
    mask, k = instance.visible_mask.roi(), scene.camera.intrinsics
    depth = np.where(mask, scene.depth[top:bottom, left:right], np.float32(np.nan))
    return Cutout(
        class_id=instance.class_id,
        image=image[top:bottom, left:right].copy(),
        mask=mask & np.isfinite(depth),
        depth=depth.astype(np.float32),
        distance=float(np.nanmedian(depth)),
        focal=float(k[0, 0]),
        bearing=float((0.5 * (left + right) - k[0, 2]) / k[0, 0]),
        brightness=brightness,
    )


def contact_depth(camera: Camera) -> np.ndarray:
    """Return the (H, W) float32 planar depth [m] of flat ground, NaN at and above the horizon.

    Uses the camera's pose in base_link; a camera at no height (unknown extrinsics) is taken as level at 1.5 m.
    """
    pose, k = camera.base_from_camera, camera.intrinsics
    if pose[2, 3] < 0.3:
        pose = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, _DEFAULT_HEIGHT], [0, 0, 0, 1.0]])
    x = (np.arange(camera.width) + 0.5 - k[0, 2]) / k[0, 0]
    y = (np.arange(camera.height) + 0.5 - k[1, 2]) / k[1, 1]
    fall = pose[2, 0] * x[None] + pose[2, 1] * y[:, None] + pose[2, 2]
    with np.errstate(divide="ignore"):
        depth = np.where(fall < -1e-6, -pose[2, 3] / fall, np.nan)
    return depth.astype(np.float32)


def with_contact_depth(scene: CameraScene) -> CameraScene:
    """Return a scene whose depth follows from where things touch flat ground, for data without depth.

    Ground pixels get the plane's depth, every thing, hidden part included, the plane's depth under its lowest visible
    pixel, all else NaN. Good for order and size, not as depth truth.
    """
    plane = contact_depth(scene.camera)
    depth = np.where(np.isin(scene.labels // SEGMENT_FACTOR, GROUND), plane, np.float32(np.nan))
    instances = []
    for instance in scene.instances:
        left, _, right, bottom = instance.visible_mask.box
        if right > left:
            foot = plane[min(bottom, scene.camera.height) - 1, max(0, left) : right]
            distance = np.float32(np.nanmedian(foot)) if np.isfinite(foot).any() else np.float32(np.nan)
            depth[instance.visible_mask.to_array(*depth.shape)] = distance
            whole = np.where(instance.amodal_mask.roi(), distance, np.float32(np.nan))
            instance = replace(instance, depth=whole, visible_depth=float(distance), amodal_depth=float(distance))
        instances.append(instance)
    return replace(scene, depth=depth, instances=instances)


def modal_scene(scene: CameraScene) -> CameraScene:
    """Return a scene as modal labels know it: visible things only, each amodal mask equal to its visible one."""
    instances = []
    for instance in scene.instances:
        mask = instance.visible_mask
        if not mask.area:
            continue
        left, top, right, bottom = mask.box
        depth = np.where(mask.roi(), scene.depth[top:bottom, left:right], np.float32(np.nan)).astype(np.float32)
        instances.append(
            replace(instance, amodal_mask=mask, depth=depth, amodal_depth=instance.visible_depth, occlusion_level=0)
        )
    return replace(scene, instances=instances, order=OcclusionOrder())
