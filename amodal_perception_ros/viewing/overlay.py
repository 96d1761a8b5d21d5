"""Draws a camera scene over its image: visible parts tinted with a solid outline, hidden parts hatched and dashed."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable

import cv2
import numpy as np

from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, ClassList
from amodal_perception_ros.scene import CameraScene, Instance

TINT = 0.4
"""Opacity of an instance's colour over its visible part."""

HATCH_PERIOD_PX = 6
DASH_PX = 4
MIN_LABEL_AREA_SHARE = 1e-3
"""Objects smaller than this share of the image get no text and no dashed outline: they would be covered by them."""

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
_FONT = cv2.FONT_HERSHEY_SIMPLEX

Color = tuple[int, int, int]
"""RGB, 0..255."""


def instance_color(instance: Instance) -> Color:
    """Return a bright RGB colour that keeps with the track, or with the instance id where there is no track."""
    hue = ((instance.track_id or instance.instance_id) * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_overlay(image: np.ndarray, scene: CameraScene, zoom: int = 1) -> np.ndarray:
    """Draw the instances of a scene over its image.

    The visible part of an object is tinted and has a solid outline. Its hidden part is hatched and has a dashed
    outline, over whatever hides it. Text gives class, occlusion level and the depth of the whole object. Pixels
    without an object stay as they are, apart from text and outlines of one pixel.

    Args:
        image: (H, W, 3) uint8 RGB.
        scene: the camera's scene, of the same size.
        zoom: whole factor by which the picture is enlarged, for readable text on small images.

    Returns:
        (H * zoom, W * zoom, 3) uint8 RGB; the input is not changed.

    Raises:
        ValueError: image and scene differ in size, or the zoom is below 1.
    """
    height, width = scene.labels.shape
    if image.shape != (height, width, 3) or image.dtype != np.uint8:
        raise ValueError(f"image is {image.dtype} {image.shape}, but the scene is for uint8 {(height, width, 3)}")
    if zoom < 1:
        raise ValueError(f"zoom must be at least 1, got {zoom}")
    picture = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC) if zoom > 1 else image.copy()
    ordered = far_to_near(scene.instances)
    for instance in ordered:
        tint_visible(picture, instance, instance_color(instance), zoom)
    for instance in ordered:
        hatch_hidden(picture, instance, instance_color(instance), zoom)
    labels = [(instance, label_text(instance, scene.classes), instance_color(instance)) for instance in ordered[::-1]]
    write_labels(picture, labels, zoom)
    return picture


def far_to_near(instances: Iterable[Instance]) -> list[Instance]:
    """Return the instances in the order of drawing: the nearest one last, so that it stays readable."""
    return sorted(instances, key=lambda i: i.amodal_depth if math.isfinite(i.amodal_depth) else math.inf, reverse=True)


def _regions(picture: np.ndarray, instance: Instance, zoom: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return views of the picture, the visible and the amodal mask over the instance's part of the image.

    The window has a margin of one pixel where the image allows, so that outlines close at its border only if the
    object does.
    """
    height, width = picture.shape[0] // zoom, picture.shape[1] // zoom
    left, top, right, bottom = instance.amodal_mask.box
    left, top, right, bottom = max(left - 1, 0), max(top - 1, 0), min(right + 1, width), min(bottom + 1, height)
    if left >= right or top >= bottom:
        return None
    window = (left, top, right - left, bottom - top)
    masks: list[np.ndarray] = [
        mask.window(*window).astype(np.uint8) for mask in (instance.visible_mask, instance.amodal_mask)
    ]
    if zoom > 1:
        masks = [cv2.resize(mask, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST) for mask in masks]
    view = picture[top * zoom : bottom * zoom, left * zoom : right * zoom]
    return view, masks[0], masks[1]


def tint_visible(picture: np.ndarray, instance: Instance, color: Color, zoom: int = 1) -> None:
    """Tint the visible part of an instance and outline it, in a picture of `zoom` times the image's size."""
    regions = _regions(picture, instance, zoom)
    if regions is None or not regions[1].any():
        return
    view, visible, _ = regions
    inside = visible.astype(bool)
    view[inside] = (view[inside] * (1 - TINT) + np.array(color, np.float32) * TINT).round().astype(np.uint8)
    contours, _ = cv2.findContours(visible, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        view[contour[:, 0, 1], contour[:, 0, 0]] = color


def hatch_hidden(picture: np.ndarray, instance: Instance, color: Color, zoom: int = 1) -> None:
    """Hatch the hidden part of an instance and dash its outline, over whatever hides it."""
    regions = _regions(picture, instance, zoom)
    if regions is None:
        return
    view, visible, amodal = regions
    hidden = amodal > visible
    if not hidden.any():
        return
    rows, columns = np.nonzero(hidden)
    # Anchored to the window, the stripes move with the object.
    stripes = (rows + columns) % (HATCH_PERIOD_PX * zoom) < 2 * zoom
    view[rows, columns] = (view[rows, columns] * 0.85).astype(np.uint8)
    rows_striped, columns_striped = rows[stripes], columns[stripes]
    striped = view[rows_striped, columns_striped] * 0.35 + np.array(color, np.float32) * 0.65
    view[rows_striped, columns_striped] = striped.astype(np.uint8)
    if _is_small(instance, picture, zoom):
        return
    contours, _ = cv2.findContours(amodal, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        x, y = contour[:, 0, 0], contour[:, 0, 1]
        drawn = hidden[y, x]
        dash = (np.arange(x.size) // (DASH_PX * zoom)) % 2 == 0
        view[y[drawn], x[drawn]] = 0
        view[y[drawn & dash], x[drawn & dash]] = 255


def write_labels(picture: np.ndarray, labels: Iterable[tuple[Instance, str, Color]], zoom: int = 1) -> None:
    """Write (instance, text, colour) at the objects' upper edge; one that would cover an earlier one is left out."""
    height, width = picture.shape[:2]
    taken = np.zeros((height, width), bool)
    scale = 0.3 + 0.06 * zoom
    for instance, text, color in labels:
        if _is_small(instance, picture, zoom):
            continue
        (text_width, text_height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
        left, top, right, _ = (zoom * value for value in instance.amodal_mask.box)
        x = int(np.clip((left + right - text_width) // 2, 0, max(0, width - text_width)))
        y = int(np.clip(top - 3, text_height + 1, height - baseline))
        box = np.s_[max(0, y - text_height - 1) : y + baseline, max(0, x - 1) : x + text_width + 1]
        if right <= 0 or left >= width or taken[box].any():
            continue
        taken[box] = True
        background = np.array(color, np.float32) * 0.4
        picture[box] = (picture[box] * 0.2 + background * 0.8).astype(np.uint8)
        cv2.putText(picture, text, (x, y), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _is_small(instance: Instance, picture: np.ndarray, zoom: int) -> bool:
    image_area = picture.shape[0] * picture.shape[1] / zoom**2
    return instance.amodal_mask.area < MIN_LABEL_AREA_SHARE * image_area


def label_text(instance: Instance, classes: ClassList = AMODAL_SYNTH_DRIVE) -> str:
    """Return class, occlusion level (if occluded) and depth of the whole object, e.g. "car L1 12 m"."""
    level = f" L{instance.occlusion_level}" if instance.occlusion_level else ""
    depth = f" {instance.amodal_depth:.0f} m" if math.isfinite(instance.amodal_depth) else ""
    return classes.by_id[instance.class_id].name + level + depth
