"""Forward optical flow, exact: every visible surface point is moved to its place one frame later and projected."""

from __future__ import annotations

from collections.abc import Sequence

import moderngl
import numpy as np

from amodal_perception_ros.simulation.rendering.drawing import Item, in_sight
from amodal_perception_ros.simulation.rendering.graphics import Graphics, read_frame, set_uniforms
from amodal_perception_ros.simulation.rendering.view import NEAR, View

# `gl_Position` is computed exactly as in the pass of the segment ids, so that both show the same surface.
_VERTEX = """#version 330
in vec3 position; in vec3 next_position;
uniform mat4 view_projection, model, next_camera_from_model;
out vec3 moved;
void main() {
  vec4 world = model * vec4(position, 1.0);
  moved = (next_camera_from_model * vec4(next_position, 1.0)).xyz;
  gl_Position = view_projection * world;
}
"""
_FRAGMENT = """#version 330
in vec3 moved; layout(location = 0) out vec3 result;
void main() { result = moved; }
"""


class FlowPass:
    """Draws where every visible surface point is one frame later.

    Args:
        graphics: context and models.
        width, height: picture size [px].
    """

    def __init__(self, graphics: Graphics, width: int, height: int) -> None:
        self._graphics = graphics
        with graphics.context as c:
            self._program = c.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
            texture = c.texture((width, height), 4, dtype="f4")
            self._frame = c.framebuffer([texture], c.depth_renderbuffer((width, height)))

    def flow(self, view: View, next_view: View, items: Sequence[Item]) -> np.ndarray:
        """Return (H, W, 2) float32 displacement (right, down) [px] from a view to the next.

        A point that leaves the picture keeps its flow; NaN where it is behind the next camera's near plane. The sky
        moves with the rotation of the camera alone.

        Args:
            view: the camera at this frame.
            next_view: the same camera at the following frame.
            items: all that is drawn, with their next pose and shape.
        """
        camera_from_odom = next_view.camera_from_odom
        with self._graphics.context as c:
            self._frame.use()
            c.enable_only(moderngl.DEPTH_TEST)
            self._frame.clear(0, 0, 0, 0, depth=1.0)
            set_uniforms(self._program, view_projection=view.projection.T)
            for item in in_sight(view, items):
                self._draw(item, camera_from_odom)
            moved = read_frame(self._frame, 3, "f4").astype(np.float64)
        sky = ~moved.any(-1)
        moved[sky] = pixel_rays(view)[sky] @ (camera_from_odom[:3, :3] @ view.odom_from_camera[:3, :3]).T
        return displacement(moved, next_view, np.where(sky, 0.0, NEAR))

    def _draw(self, item: Item, camera_from_odom: np.ndarray) -> None:
        matrix = item.matrix if item.next_matrix is None else item.next_matrix
        set_uniforms(self._program, model=item.matrix.T, next_camera_from_model=(camera_from_odom @ matrix).T)
        self._graphics.moving_array(self._program, item.model, item.next_model or item.model).render()


def pixel_rays(view: View) -> np.ndarray:
    """Return (H, W, 3) directions through the pixel centres in the optical frame, z = 1."""
    u, v = _pixel_centres(view)
    k = view.camera.intrinsics
    return np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], -1)


def displacement(moved: np.ndarray, view: View, nearest: np.ndarray) -> np.ndarray:
    """Project (H, W, 3) points of a camera's optical frame; return their (H, W, 2) way from the pixel centres [px].

    NaN where a point is not farther ahead than `nearest` [m].
    """
    k = view.camera.intrinsics
    u, v = _pixel_centres(view)
    ahead = moved[..., 2] > nearest
    z = np.where(ahead, moved[..., 2], 1.0)
    way = np.stack([moved[..., 0] / z * k[0, 0] + k[0, 2] - u, moved[..., 1] / z * k[1, 1] + k[1, 2] - v], -1)
    return np.where(ahead[..., None], way, np.nan).astype(np.float32)


def _pixel_centres(view: View) -> tuple[np.ndarray, np.ndarray]:
    u, v = np.meshgrid(np.arange(view.camera.width) + 0.5, np.arange(view.camera.height) + 0.5)
    return u, v
