"""Pictures by OpenGL: sun and contact shadows, surfaces per material, sky and film."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import moderngl
import numpy as np

from amodal_perception_ros.simulation import shaders
from amodal_perception_ros.simulation.drawing import Item
from amodal_perception_ros.simulation.graphics import read_frame, set_uniforms
from amodal_perception_ros.simulation.meshes import Kind, Model
from amodal_perception_ros.simulation.truth_renderer import TruthRenderer
from amodal_perception_ros.simulation.view import View
from amodal_perception_ros.simulation.weather import Weather

SHADOW_SIZE, SHADOW_REACH = 2048, 60.0
CONTACT_SIZE, CONTACT_REACH = 512, 48.0


class Renderer(TruthRenderer):
    """Draws a town and its things for pictures of one size; the passes of the truth are inherited.

    Args:
        width, height: picture size [px].
        supersample: shaded points per pixel and axis.
        weather: light and air.
        tiles: static models in odom.
    """

    def __init__(self, width: int, height: int, supersample: int, weather: Weather, tiles: Sequence[Model]) -> None:
        super().__init__(width, height, tiles)
        self.supersample, self.weather = supersample, weather
        with self.context:
            self._programs()
            self._targets()
            self._noise()
            self._screen = self.context.buffer(np.array([-1, -1, 3, -1, -1, 3], "f4").tobytes())
            self._sky = self.context.vertex_array(self._sky_program, [(self._screen, "2f", "corner")])
            self._film = self.context.vertex_array(self._film_program, [(self._screen, "2f", "corner")])
            self._constants()

    # Set-up -----------------------------------------------------------------------------------------------

    def _programs(self) -> None:
        program, w = self.context.program, self.weather
        self._colour = {}
        for kind in Kind:
            vertex, fragment = shaders.scene_sources(kind, w.casts_shadows, w.lamps, w.wet)
            self._colour[int(kind)] = program(vertex_shader=vertex, fragment_shader=fragment)
        self._shadow = program(vertex_shader=shaders.SHADOW_VERTEX, fragment_shader=shaders.SHADOW_FRAGMENT)
        self._contact = program(vertex_shader=shaders.CONTACT_VERTEX, fragment_shader=shaders.CONTACT_FRAGMENT)
        self._sky_program = program(vertex_shader=shaders.SCREEN_VERTEX, fragment_shader=shaders.SKY_FRAGMENT)
        self._film_program = program(vertex_shader=shaders.SCREEN_VERTEX, fragment_shader=shaders.FILM_FRAGMENT)

    def _targets(self) -> None:
        c, w, h = self.context, self.width, self.height
        big = (w * self.supersample, h * self.supersample)
        self._picture = c.texture(big, 4, dtype="f2")
        self._picture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        self._picture.repeat_x = self._picture.repeat_y = False
        self._picture_frame = c.framebuffer([self._picture], c.depth_renderbuffer(big))
        self._output = c.framebuffer([c.renderbuffer((w, h), 4)])
        self._sun_map = c.depth_texture((SHADOW_SIZE, SHADOW_SIZE))
        self._sun_map.compare_func = "<="
        self._sun_map.repeat_x = self._sun_map.repeat_y = False
        self._sun_frame = c.framebuffer(depth_attachment=self._sun_map)
        self._contact_texture = c.texture((CONTACT_SIZE, CONTACT_SIZE), 1, dtype="f1")
        self._contact_texture.repeat_x = self._contact_texture.repeat_y = False
        self._contact_frame = c.framebuffer([self._contact_texture])

    def _noise(self) -> None:
        """A 256 x 256 tile of smooth value noise (red) and white noise (green)."""
        rng, n = np.random.default_rng(7), 256
        coarse = np.kron(rng.random((64, 64)), np.ones((4, 4)))
        fx, fy = np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n)[None]
        smooth = np.real(np.fft.ifft2(np.fft.fft2(coarse) * np.exp(-(fx**2 + fy**2) * 50.6)))
        smooth = np.clip((smooth - smooth.mean()) / smooth.std() * 0.2 + 0.5, 0, 1)
        both = np.stack([np.round(smooth * 65535) / 65535, rng.random((n, n))], -1).astype("f4")
        self._noise_map = self.context.texture((n, n), 2, both.tobytes(), dtype="f4")
        self._noise_map.build_mipmaps()
        self._noise_map.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)

    def _constants(self) -> None:
        w = self.weather
        values = {
            "sun": w.sun, "sun_color": w.sun_color, "ambient": w.ambient, "fog_color": w.fog_color, "zenith": w.zenith,
            "horizon": w.horizon, "fog": w.fog, "clouds": w.clouds, "sun_map": 0, "noise_map": 1, "contact": 2,
        }  # fmt: skip
        for program in (*self._colour.values(), self._sky_program):
            set_uniforms(program, **values)
        set_uniforms(
            self._film_program,
            picture=4,
            size=(self.width, self.height),
            supersample=self.supersample,
            exposure=w.exposure,
            noise=0.01,
            rain=float(w.wet),
            glow=float(w.lamps),
            gain=(1.0, 1.0, 1.0),
        )

    # Pictures ---------------------------------------------------------------------------------------------

    def begin(self, center: np.ndarray, things: Sequence[Item], footprints: np.ndarray, lamps: np.ndarray) -> None:
        """Prepare a frame: sun shadows and contact shadows around `center`, and the lights.

        Args:
            center: (2,) position of the ego vehicle [m].
            things: everything movable in reach.
            footprints: (n, 7) x, y, cos yaw, sin yaw, half length, half width [m], strength of a contact shadow.
            lamps: (m, 8) x, y, z, power, direction, cosine of the half angle; the first `MAX_LAMPS` are used.
        """
        with self.context:
            self.things = list(things)
            if self.weather.casts_shadows:
                self._draw_sun_map(center)
            self._draw_contact(center, footprints)
            lamps = lamps[: shaders.MAX_LAMPS]
            padded = np.zeros((shaders.MAX_LAMPS, 8))
            padded[: len(lamps)] = lamps
            for program in self._colour.values():
                set_uniforms(program, lamp_count=len(lamps), lamp=padded[:, :4], lamp_axis=padded[:, 4:])

    def _draw_sun_map(self, center: np.ndarray) -> None:
        sun = np.array(self.weather.sun)
        right = np.cross(-sun, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        up = np.cross(right, -sun)
        turn = np.array([right, up, sun])
        target = turn @ np.array([*center, 0.0])
        texel = 2 * SHADOW_REACH / SHADOW_SIZE
        target[:2] = np.round(target[:2] / texel) * texel
        view = np.eye(4)
        view[:3, :3], view[:3, 3] = turn, -target
        projection = np.diag([1 / SHADOW_REACH, 1 / SHADOW_REACH, -1 / 120.0, 1]) @ view
        for program in self._colour.values():
            set_uniforms(program, sun_projection=projection.T)
        self._sun_frame.use()
        self._sun_frame.clear(depth=1.0)
        self.context.enable_only(moderngl.DEPTH_TEST)
        set_uniforms(self._shadow, view_projection=projection.T)
        for item in (*self.tiles, *self.things):
            if _in_reach(item, center, SHADOW_REACH * 1.5):
                set_uniforms(self._shadow, model=item.matrix.T)
                self.graphics.array(self._shadow, item.model).render()

    def _draw_contact(self, center: np.ndarray, footprints: np.ndarray) -> None:
        low = np.asarray(center) - CONTACT_REACH
        frame = (float(low[0]), float(low[1]), 0.5 / CONTACT_REACH, 0.5 / CONTACT_REACH)
        for program in (self._contact, *self._colour.values()):
            set_uniforms(program, contact_frame=frame)
        self._contact_frame.use()
        self._contact_frame.clear()
        if not len(footprints):
            return
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, -1), (1, 1), (-1, 1)])
        data = np.concatenate([np.tile(corners, (len(footprints), 1)), np.repeat(footprints, 6, 0)], 1).astype("f4")
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

    def picture(self, view: View, seed: int) -> np.ndarray:
        """Return the (height, width, 3) uint8 RGB picture of a camera; `seed` varies the sensor noise."""
        with self.context:
            c, k = self.context, view.camera.intrinsics
            self._picture_frame.use()
            self._picture_frame.clear(0, 0, 0, 1, depth=1.0)
            c.enable_only(moderngl.DEPTH_TEST)
            self._sun_map.use(0)
            self._noise_map.use(1)
            self._contact_texture.use(2)
            eye = tuple(view.odom_from_camera[:3, 3])
            for program in self._colour.values():
                set_uniforms(program, view_projection=view.projection.T, eye=eye)
            self._draw_colour(view)
            half = (self.width / 2 / k[0, 0], self.height / 2 / k[1, 1])
            shift = ((self.width / 2 - k[0, 2]) / k[0, 0], (self.height / 2 - k[1, 2]) / k[1, 1])
            set_uniforms(self._sky_program, world_from_camera=view.odom_from_camera[:3, :3].T, lens=(*half, *shift))
            c.depth_func = "<="
            self._sky.render()
            c.depth_func = "<"
            self._picture.build_mipmaps()
            self._picture.use(4)
            self._output.use()
            c.enable_only(moderngl.NOTHING)
            set_uniforms(self._film_program, seed=seed % 2**30)
            self._film.render()
            return read_frame(self._output, 3, "f1")

    def _draw_colour(self, view: View) -> None:
        by_kind: dict[int, list[tuple[Item, int, int]]] = {}
        for item in (*self.things, *self.tiles):
            if view.sees(item.model.low, item.model.high, item.matrix):
                for kind, first, count in item.model.ranges:
                    by_kind.setdefault(kind, []).append((item, first, count))
        for kind in sorted(by_kind):
            program = self._colour[kind]
            for item, first, count in by_kind[kind]:
                set_uniforms(
                    program, model=item.matrix.T, palette=item.palette, lights=float(item.lights), look=item.look
                )
                self.graphics.array(program, item.model).render(vertices=count, first=first)


def _in_reach(item: Item, center: np.ndarray, reach: float) -> bool:
    middle = item.matrix[:2, :2] @ (0.5 * (item.model.low + item.model.high))[:2] + item.matrix[:2, 3]
    size = 0.5 * float(np.hypot(*(item.model.high - item.model.low)[:2]))
    return bool(np.hypot(*(middle - np.asarray(center)[:2])) < reach + size)
