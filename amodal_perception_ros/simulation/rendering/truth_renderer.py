"""The exact passes behind the truth: segment ids with planar depth, flow, each thing alone, the view from above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import moderngl
import numpy as np

from amodal_perception_ros.simulation.assets.meshes import Model
from amodal_perception_ros.simulation.rendering import shaders
from amodal_perception_ros.simulation.rendering.drawing import Item, in_sight
from amodal_perception_ros.simulation.rendering.flow import FlowPass
from amodal_perception_ros.simulation.rendering.graphics import Graphics, read_frame, set_uniforms
from amodal_perception_ros.simulation.rendering.view import TopView, View, box_corners


class TruthRenderer:
    """Draws ids and depth of a town and its things with one sample per pixel, at the pixel centres.

    Args:
        width, height: picture size [px].
        tiles: static models in odom.

    Attributes:
        things: everything movable in the current frame.

    Raises:
        RendererError: no off-screen OpenGL on this machine, or it cannot hold pictures of this size.
    """

    def __init__(self, width: int, height: int, tiles: Sequence[Model]) -> None:
        self.width, self.height = width, height
        self.graphics = Graphics()
        self.context = self.graphics.context
        self.tiles = [Item(tile, np.eye(4), np.zeros((4, 3)), look=0.13 * (k % 7)) for k, tile in enumerate(tiles)]
        self.things: list[Item] = []
        with self.graphics.holding(width, height) as c:
            self._truth = c.program(vertex_shader=shaders.TRUTH_VERTEX, fragment_shader=shaders.TRUTH_FRAGMENT)
            texture = c.texture((width, height), 2, dtype="f4")
            self._truth_frame = c.framebuffer([texture], c.depth_renderbuffer((width, height)))
        self._flow = FlowPass(self.graphics, width, height)
        self._above_frames: dict[int, moderngl.Framebuffer] = {}

    def release(self) -> None:
        """Free the GPU objects and the context."""
        self.graphics.release()

    def segments(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Return (H, W) uint16 segment ids and (H, W) float32 planar depth [m]; both are 0 in the sky."""
        with self.context:
            self._begin_truth(view)
            self._truth_frame.clear(0, 0, 0, 0, depth=1.0)
            for item in in_sight(view, [*self.tiles, *self.things]):
                self._draw_truth(item)
            both = read_frame(self._truth_frame, 2, "f4")
            return both[..., 0].astype(np.uint16), both[..., 1].copy()

    def flow(self, view: View, next_view: View) -> np.ndarray:
        """Return (H, W, 2) float32 forward optical flow (right, down) [px]; NaN behind the next camera."""
        return self._flow.flow(view, next_view, [*self.tiles, *self.things])

    def alone(self, view: View, item: Item) -> tuple[int, int, np.ndarray] | None:
        """Draw one item without anything else.

        Returns:
            (left, top, (h, w) float32 planar depth [m], 0 outside the item), or None when no pixel shows it.
        """
        rectangle = view.rectangle(box_corners(item.model.low, item.model.high), item.matrix)
        if rectangle is None:
            return None
        left, top, right, bottom = rectangle
        window = (left, self.height - bottom, right - left, bottom - top)
        with self.context:
            self._begin_truth(view)
            frame: Any = self._truth_frame
            frame.scissor = window
            frame.clear(0, 0, 0, 0, depth=1.0)
            self._draw_truth(item)
            data = frame.read(viewport=window, components=2, dtype="f4", alignment=1)
            frame.scissor = None
        depth = np.frombuffer(data, "f4").reshape(bottom - top, right - left, 2)[::-1]
        inside = depth[..., 0] > 0
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not rows.size:
            return None
        cut = depth[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, 1]
        return left + int(columns[0]), top + int(rows[0]), cut.copy()

    def above(
        self,
        low: np.ndarray,
        cell: float,
        count: int,
        layers: Sequence[Sequence[Item]],
        bands: Sequence[tuple[float, float]],
    ) -> list[np.ndarray]:
        """Draw layers of items straight from above, each within its height band.

        Args:
            low: (2,) lower-left corner of the grid in odom [m].
            cell: cell size [m].
            count: cells per side.
            layers: items of each layer.
            bands: (z_min, z_max) of each layer [m].

        Returns:
            Per layer (count, count) uint16 segment ids, rows along y, 0 where nothing is.
        """
        with self.context as c:
            if count not in self._above_frames:
                texture = c.texture((count, count), 2, dtype="f4")
                self._above_frames[count] = c.framebuffer([texture], c.depth_renderbuffer((count, count)))
            frame, out = self._above_frames[count], []
            frame.use()
            c.enable_only(moderngl.DEPTH_TEST)
            for items, band in zip(layers, bands):
                view = TopView(low, cell * count, band)
                set_uniforms(self._truth, view_projection=view.projection.T, depth_row=(0.0, 0.0, 1.0, 0.0))
                frame.clear(0, 0, 0, 0, depth=1.0)
                for item in in_sight(view, items):
                    self._draw_truth(item)
                out.append(read_frame(frame, 1, "f4")[::-1, :, 0].astype(np.uint16))
            return out

    def _begin_truth(self, view: View) -> None:
        self._truth_frame.use()
        self.context.enable_only(moderngl.DEPTH_TEST)
        set_uniforms(self._truth, view_projection=view.projection.T, depth_row=tuple(view.camera_from_odom[2]))

    def _draw_truth(self, item: Item) -> None:
        set_uniforms(self._truth, model=item.matrix.T, segment=float(item.segment))
        self.graphics.array(self._truth, item.model).render()
