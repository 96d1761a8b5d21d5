"""Draws what is wrong in an image: objects that are missed, invented or put into the wrong order."""

from __future__ import annotations

import math
from collections.abc import Collection

import cv2
import numpy as np

from amodal_perception_ros.evaluation.worst import ImageErrors
from amodal_perception_ros.labels import SEGMENT_FACTOR, ClassList
from amodal_perception_ros.scene import CameraScene, Instance
from amodal_perception_ros.viewing.overlay import (
    Color,
    far_to_near,
    hatch_hidden,
    tint_visible,
    write_labels,
)

MAX_WIDTH_PX = 960
"""Pictures are no wider than this, so that a page of forty stays quick to open."""

MAX_ZOOM = 4
"""Small images are enlarged by at most this factor, for readable text."""

MISSED_COLOR: Color = (255, 32, 32)
INVENTED_COLOR: Color = (255, 0, 255)
WRONG_ORDER_COLOR: Color = (255, 150, 0)
RIGHT_COLOR: Color = (235, 235, 235)
CANVAS_COLOR: Color = (96, 96, 96)
"""What objects are drawn on where a data set has no pictures."""


def draw_errors(
    image: np.ndarray | None, truth: CameraScene, predicted: CameraScene, errors: ImageErrors
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the errors of one image, truth and prediction apart.

    In the truth, missed objects are red (visible part tinted, hidden part hatched, amodal outline drawn), and every
    wrong order edge is an orange arrow from the occluder to the object that it hides. In the prediction, invented
    objects are magenta. All other objects that can be seen have a thin pale amodal outline.

    Args:
        image: (H, W, 3) uint8 RGB, or None for a grey canvas.
        truth: the true scene.
        predicted: the predicted scene, of the same size.
        errors: what is wrong, by instance id.

    Returns:
        Truth and prediction, each (h, w, 3) uint8 RGB at most `MAX_WIDTH_PX` wide.

    Raises:
        ValueError: image and truth differ in size.
        KeyError: an id of `errors` is not in its scene.
    """
    height, width = truth.labels.shape
    if image is not None and image.shape != (height, width, 3):
        raise ValueError(f"image is {image.shape}, but the scene is for {(height, width, 3)}")
    zoom = min(MAX_ZOOM, math.ceil(MAX_WIDTH_PX / width))
    true = _draw_scene(_ground(image, height, width, zoom), truth, errors.missed, MISSED_COLOR, zoom)
    for occluder, occludee in errors.order_errors:
        _draw_arrow(true, truth.instance(occluder), truth.instance(occludee), zoom)
    guess = _draw_scene(_ground(image, height, width, zoom), predicted, errors.invented, INVENTED_COLOR, zoom)
    return _shrunk(true), _shrunk(guess)


def _ground(image: np.ndarray | None, height: int, width: int, zoom: int) -> np.ndarray:
    if image is None:
        return np.full((height * zoom, width * zoom, 3), CANVAS_COLOR, np.uint8)
    picture = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC) if zoom > 1 else image
    # Pale and dark, so that the outlines stand out.
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    return (0.3 * picture + 0.4 * gray).astype(np.uint8)


def _draw_scene(picture: np.ndarray, scene: CameraScene, wrong: Collection[int], color: Color, zoom: int) -> np.ndarray:
    line = _line_px(picture)
    for instance in scene.instances:
        if instance.visible_mask.area and instance.instance_id not in wrong:
            _outline(picture, instance, RIGHT_COLOR, zoom, max(1, line // 2))
    marked = far_to_near(scene.instance(instance_id) for instance_id in wrong)
    for instance in marked:
        tint_visible(picture, instance, color, zoom)
        hatch_hidden(picture, instance, color, zoom)
    for instance in marked:
        _outline(picture, instance, color, zoom, line)
    write_labels(picture, [(i, _name(i, scene.classes), color) for i in marked[::-1]], zoom)
    return picture


def _name(instance: Instance, classes: ClassList) -> str:
    return f"{classes.by_id[instance.class_id].name} {instance.instance_id % SEGMENT_FACTOR}"


def _line_px(picture: np.ndarray) -> int:
    """Width of a line that is two pixels wide once the picture is shrunk."""
    return max(1, round(2 * picture.shape[1] / MAX_WIDTH_PX))


def _outline(picture: np.ndarray, instance: Instance, color: Color, zoom: int, line: int) -> None:
    mask = instance.amodal_mask
    if not mask.area:
        return
    roi: np.ndarray = mask.roi().astype(np.uint8)
    if zoom > 1:
        roi = cv2.resize(roi, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(roi, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, contours, -1, color, line, offset=(mask.x_offset * zoom, mask.y_offset * zoom))


def _draw_arrow(picture: np.ndarray, occluder: Instance, occludee: Instance, zoom: int) -> None:
    start, end = _anchor(occluder, zoom), _anchor(occludee, zoom)
    line = _line_px(picture)
    length = max(1.0, math.dist(start, end))
    tip = min(0.4, 8 * line / length)
    cv2.arrowedLine(picture, start, end, (0, 0, 0), line + 2, cv2.LINE_AA, tipLength=tip)
    cv2.arrowedLine(picture, start, end, WRONG_ORDER_COLOR, line, cv2.LINE_AA, tipLength=tip)


def _anchor(instance: Instance, zoom: int) -> tuple[int, int]:
    """Return the pixel (x, y) of the visible part that is nearest to its centre, in the zoomed picture."""
    mask = instance.visible_mask if instance.visible_mask.area else instance.amodal_mask
    rows, columns = np.nonzero(mask.roi())
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    x, y = mask.x_offset + int(columns[nearest]), mask.y_offset + int(rows[nearest])
    return x * zoom + zoom // 2, y * zoom + zoom // 2


def _shrunk(picture: np.ndarray) -> np.ndarray:
    scale = MAX_WIDTH_PX / picture.shape[1]
    if scale >= 1:
        return picture
    size = (MAX_WIDTH_PX, max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
