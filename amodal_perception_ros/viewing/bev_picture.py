"""Draws a bird's-eye-view grid with objects, the vehicle heading up, and a legend."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np

from amodal_perception_ros.labels import BY_ID
from amodal_perception_ros.scene import AmodalObject, BevOccupancy, Evidence

Color = tuple[int, int, int]

UNKNOWN_COLOR: Color = (176, 181, 188)
FREE_COLOR: Color = (246, 247, 249)
OCCUPIED_COLORS: dict[Evidence, Color] = {
    Evidence.UNKNOWN: (90, 90, 90),
    Evidence.LIDAR: (44, 56, 74),
    Evidence.CAMERA: (0, 124, 173),
    Evidence.AMODAL_INFERRED: (233, 92, 12),
    Evidence.REMEMBERED: (141, 84, 201),
}
OCCUPIED_NAMES: dict[Evidence, str] = {
    Evidence.LIDAR: "occupied, LiDAR",
    Evidence.CAMERA: "occupied, camera",
    Evidence.AMODAL_INFERRED: "occupied, hidden part",
    Evidence.REMEMBERED: "occupied, remembered",
}
LEGEND_WIDTH = 208
"""Columns of the picture right of the map [px]."""

EGO_COLOR: Color = (208, 2, 27)
RING_DISTANCE_M = 10.0

_VEHICLE_COLOR: Color = (26, 84, 220)
_PERSON_COLOR: Color = (20, 140, 60)
_INK: Color = (32, 36, 42)
_PAPER: Color = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_bev(
    bev: BevOccupancy,
    objects: Iterable[AmodalObject] = (),
    odom_from_base: np.ndarray | None = None,
    size: int = 640,
) -> np.ndarray:
    """Draw the occupancy with hidden parts (`bev.amodal`), coloured by its evidence.

    The vehicle stands in the middle of the map and heads up; its left is left. Objects are outlined as boxes with
    a line towards their heading, dashed when no camera sees them.

    Args:
        bev: the grid, in odom.
        objects: boxes in odom.
        odom_from_base: (4, 4) pose of the vehicle; None draws no vehicle and puts the grid's middle in the middle,
            with the x axis of odom up.
        size: side of the map [px].

    Returns:
        (size, size + LEGEND_WIDTH, 3) uint8 RGB.

    Raises:
        ValueError: the grid is empty.
    """
    if bev.amodal.size == 0:
        raise ValueError("the bird's-eye-view grid has no cells")
    view = _View(bev, odom_from_base, size)
    picture = np.full((size, size + LEGEND_WIDTH, 3), _PAPER, np.uint8)
    canvas = _cell_colors(bev)[view.cells(bev)]
    _draw_rings(canvas, view)
    for item in objects:
        _draw_object(canvas, view, item)
    if odom_from_base is not None:
        _fill_arrow(canvas, size / 2, size / 2)
    picture[:, :size] = canvas
    _draw_legend(picture, size, view, with_vehicle=odom_from_base is not None)
    return picture


class _View:
    """The map between odom and the picture.

    Attributes:
        center: (x, y) of the picture's middle in odom [m].
        yaw: direction in odom that is up in the picture [rad].
        px_per_m: scale.
        size: side of the picture [px].
    """

    def __init__(self, bev: BevOccupancy, odom_from_base: np.ndarray | None, size: int) -> None:
        rows, columns = bev.amodal.shape
        if odom_from_base is None:
            self.center = np.array(bev.origin) + np.array([columns, rows]) * bev.resolution / 2
            self.yaw = 0.0
        else:
            self.center = odom_from_base[:2, 3]
            self.yaw = math.atan2(odom_from_base[1, 0], odom_from_base[0, 0])
        self.size = size
        self.px_per_m = size / (max(rows, columns) * bev.resolution)

    def cells(self, bev: BevOccupancy) -> tuple[np.ndarray, np.ndarray]:
        """Return the (row, column) of the cell under every pixel; one past the end outside the grid."""
        rows, columns = bev.amodal.shape
        offset = (self.size / 2 - 0.5 - np.arange(self.size)) / self.px_per_m
        forward, left = np.meshgrid(offset, offset, indexing="ij")
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        x = self.center[0] + cos * forward - sin * left - bev.origin[0]
        y = self.center[1] + sin * forward + cos * left - bev.origin[1]
        column, row = (np.floor(value / bev.resolution).astype(int) for value in (x, y))
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return np.where(inside, row, rows), np.where(inside, column, columns)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Return (N, 2) picture columns and rows of (N, 2) odom points [m]."""
        delta = points - self.center
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        forward = cos * delta[:, 0] + sin * delta[:, 1]
        left = -sin * delta[:, 0] + cos * delta[:, 1]
        return np.stack([-left, -forward], 1) * self.px_per_m + self.size / 2


def _cell_colors(bev: BevOccupancy) -> np.ndarray:
    """Return (rows + 1, columns + 1, 3) uint8 colours; the last row and column stand for what lies outside."""
    rows, columns = bev.amodal.shape
    table = np.full((256, 3), OCCUPIED_COLORS[Evidence.UNKNOWN], np.float32)
    for evidence, color in OCCUPIED_COLORS.items():
        table[evidence] = color
    share = np.clip(bev.amodal.astype(np.float32) / 100, 0, 1)[..., None]
    colors = np.full((rows + 1, columns + 1, 3), UNKNOWN_COLOR, np.uint8)
    known = bev.amodal >= 0
    blended = np.array(FREE_COLOR, np.float32) * (1 - share) + table[bev.evidence] * share
    colors[:rows, :columns][known] = blended.round().astype(np.uint8)[known]
    return colors


def _draw_rings(canvas: np.ndarray, view: _View) -> None:
    middle = (view.size // 2, view.size // 2)
    shade = canvas.copy()
    for number in range(1, int(view.size / 2 / view.px_per_m / RING_DISTANCE_M) + 1):
        cv2.circle(shade, middle, round(number * RING_DISTANCE_M * view.px_per_m), _INK, 1, cv2.LINE_AA)
    canvas[:] = cv2.addWeighted(shade, 0.18, canvas, 0.82, 0)


def _draw_object(canvas: np.ndarray, view: _View, item: AmodalObject) -> None:
    cos, sin = math.cos(item.yaw), math.sin(item.yaw)
    length, width = item.size[0] / 2, item.size[1] / 2
    local = np.array([[length, width], [length, -width], [-length, -width], [-length, width], [0, 0], [length, 0]])
    points = local @ np.array([[cos, sin], [-sin, cos]]) + item.center[:2]
    pixels = view.pixels(points)
    corners = [tuple(int(value) for value in point) for point in pixels.round()]
    color = object_color(item)
    for start, end in zip(corners[:4], corners[1:4] + corners[:1], strict=True):
        _line(canvas, start, end, color, dashed=not item.cameras)
    _line(canvas, corners[4], corners[5], color, dashed=not item.cameras)


def object_color(item: AmodalObject) -> Color:
    """Return green for people, blue for vehicles; both are told from occupied cells at a glance."""
    return _PERSON_COLOR if BY_ID[item.class_id].name in ("person", "rider") else _VEHICLE_COLOR


def _line(canvas: np.ndarray, start: tuple[int, ...], end: tuple[int, ...], color: Color, dashed: bool) -> None:
    if not dashed:
        cv2.line(canvas, start, end, color, 1, cv2.LINE_AA)
        return
    steps = max(2, int(math.dist(start, end) / 3))
    marks = np.linspace(start, end, steps + 1).round().astype(int)
    for index in range(0, steps, 2):
        cv2.line(canvas, tuple(marks[index].tolist()), tuple(marks[index + 1].tolist()), color, 1, cv2.LINE_AA)


def _fill_arrow(picture: np.ndarray, x: float, y: float, scale: float = 1.0) -> None:
    """Draw the vehicle, heading up, at a picture column and row."""
    arrow = np.array([[0, -11], [8, 9], [0, 4], [-8, 9]]) * scale + np.array([x, y])
    cv2.fillPoly(picture, [arrow.round().astype(np.int32)], EGO_COLOR, cv2.LINE_AA)


def _draw_legend(picture: np.ndarray, left: int, view: _View, with_vehicle: bool) -> None:
    x, y = left + 16, 24
    cells: list[tuple[str, Color]] = [("free", FREE_COLOR), ("unknown", UNKNOWN_COLOR)]
    cells += [(name, OCCUPIED_COLORS[evidence]) for evidence, name in OCCUPIED_NAMES.items()]
    for name, color in cells:
        cv2.rectangle(picture, (x, y - 10), (x + 20, y + 4), color, -1)
        cv2.rectangle(picture, (x, y - 10), (x + 20, y + 4), _INK, 1)
        _text(picture, name, x + 30, y)
        y += 26
    boxes = (("vehicle", _VEHICLE_COLOR, False), ("person", _PERSON_COLOR, False), ("object out of sight", _INK, True))
    for name, color, dashed in boxes:
        corners = [(x, y - 10), (x + 20, y - 10), (x + 20, y + 4), (x, y + 4)]
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            _line(picture, start, end, color, dashed)
        _text(picture, name, x + 30, y)
        y += 26
    if with_vehicle:
        _fill_arrow(picture, x + 10, y - 4, 0.75)
        _text(picture, "this vehicle", x + 30, y)
        y += 26
    _text(picture, f"rings every {RING_DISTANCE_M:.0f} m", x, y)
    length = round(RING_DISTANCE_M * view.px_per_m)
    bottom = picture.shape[0] - 24
    cv2.line(picture, (x, bottom), (x + length, bottom), _INK, 2)
    for column in (x, x + length):
        cv2.line(picture, (column, bottom - 4), (column, bottom + 4), _INK, 2)
    _text(picture, f"{RING_DISTANCE_M:.0f} m", x, bottom - 10)


def _text(picture: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(picture, text, (x, y), _FONT, 0.42, _INK, 1, cv2.LINE_AA)
