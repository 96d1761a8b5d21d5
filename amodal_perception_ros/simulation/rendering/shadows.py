"""Shadow maps of a frame: the sun's, and the soft contact of things with the ground."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import moderngl
import numpy as np

from amodal_perception_ros.simulation.rendering import shaders
from amodal_perception_ros.simulation.rendering.drawing import Item
from amodal_perception_ros.simulation.rendering.graphics import Graphics, set_uniforms

SUN_SIZE, SUN_REACH = 2048, 60.0
CONTACT_SIZE, CONTACT_REACH = 512, 48.0


class Shadows:
    """Draws the shadow maps around the ego vehicle; `use` binds them for the colour programs."""

    def __init__(self, graphics: Graphics) -> None:
        self.graphics = graphics
        c = self.context = graphics.context
        self._sun_program = c.program(vertex_shader=shaders.SHADOW_VERTEX, fragment_shader=shaders.SHADOW_FRAGMENT)
        self._contact = c.program(vertex_shader=shaders.CONTACT_VERTEX, fragment_shader=shaders.CONTACT_FRAGMENT)
        self._sun_map = c.depth_texture((SUN_SIZE, SUN_SIZE))
        self._sun_map.compare_func = "<="
        self._sun_map.repeat_x = self._sun_map.repeat_y = False
        self._sun_frame = c.framebuffer(depth_attachment=self._sun_map)
        self._contact_map = c.texture((CONTACT_SIZE, CONTACT_SIZE), 1, dtype="f1")
        self._contact_map.repeat_x = self._contact_map.repeat_y = False
        self._contact_frame = c.framebuffer([self._contact_map])

    def use(self, sun: int, contact: int) -> None:
        """Bind the maps to texture units."""
        self._sun_map.use(sun)
        self._contact_map.use(contact)

    def draw_sun(self, center: np.ndarray, sun: np.ndarray, items: Iterable[Item]) -> np.ndarray:
        """Draw what the sun sees around the (3,) `center` [m]; return the (4, 4) projection to its clip space."""
        right = np.cross(-sun, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        up = np.cross(right, -sun)
        turn = np.array([right, up, sun])
        target = turn @ center
        texel = 2 * SUN_REACH / SUN_SIZE
        target[:2] = np.round(target[:2] / texel) * texel
        view = np.eye(4)
        view[:3, :3], view[:3, 3] = turn, -target
        projection = np.diag([1 / SUN_REACH, 1 / SUN_REACH, -1 / 120.0, 1]) @ view
        self._sun_frame.use()
        self._sun_frame.clear(depth=1.0)
        self.context.enable_only(moderngl.DEPTH_TEST)
        set_uniforms(self._sun_program, view_projection=projection.T)
        for item in items:
            if distance(item, center) < SUN_REACH * 1.5:
                set_uniforms(self._sun_program, model=item.matrix.T)
                self.graphics.array(self._sun_program, item.model).render()
        return projection

    def draw_contact(self, center: np.ndarray, footprints: np.ndarray) -> tuple[float, float, float, float]:
        """Draw the contact of (n, 7) footprints with the ground; return the map's place: low x and y, 1 / size."""
        low = np.asarray(center)[:2] - CONTACT_REACH
        frame = (float(low[0]), float(low[1]), 0.5 / CONTACT_REACH, 0.5 / CONTACT_REACH)
        set_uniforms(self._contact, contact_frame=frame)
        self._contact_frame.use()
        self._contact_frame.clear()
        middle, size = footprints[:, :2] - np.asarray(center)[:2], footprints[:, 4:6].max(1, initial=0.0)
        footprints = footprints[np.abs(middle).max(1, initial=0.0) < CONTACT_REACH + size + 1]
        if len(footprints):
            corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, -1), (1, 1), (-1, 1)])
            data = np.concatenate([np.tile(corners, (len(footprints), 1)), np.repeat(footprints, 6, 0)], 1)
            self._blend(data.astype("f4"))
        return frame

    def _blend(self, data: np.ndarray) -> None:
        c: Any = self.context
        c.enable_only(moderngl.BLEND)
        c.blend_equation = moderngl.MAX
        c.blend_func = moderngl.ONE, moderngl.ONE
        buffer = c.buffer(data.tobytes())
        array = c.vertex_array(self._contact, [(buffer, "2f 4f 3f", "corner", "frame", "shape")])
        array.render()
        array.release()
        buffer.release()
        c.blend_equation = moderngl.FUNC_ADD
        c.enable_only(moderngl.DEPTH_TEST)


def distance(item: Item, point: np.ndarray) -> float:
    """Return the horizontal distance [m] of an item's circle from a point; 0 or less inside."""
    middle = item.matrix[:2, :2] @ (0.5 * (item.model.low + item.model.high))[:2] + item.matrix[:2, 3]
    radius = 0.5 * float(np.hypot(*(item.model.high - item.model.low)[:2]))
    return float(np.hypot(*(middle - np.asarray(point)[:2]))) - radius
