"""Pictures by OpenGL: surfaces per material under sun, sky and lamps, mirror images on wet ground, and the sky."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import moderngl
import numpy as np

from amodal_perception_ros.simulation.assets.meshes import Kind, Model
from amodal_perception_ros.simulation.rendering import lamp_grid, shaders
from amodal_perception_ros.simulation.rendering.camera_effects import Film
from amodal_perception_ros.simulation.rendering.camera_look import CameraLook
from amodal_perception_ros.simulation.rendering.drawing import Item, in_sight
from amodal_perception_ros.simulation.rendering.graphics import read_frame, set_uniforms
from amodal_perception_ros.simulation.rendering.shadows import Shadows, distance
from amodal_perception_ros.simulation.rendering.truth_renderer import TruthRenderer
from amodal_perception_ros.simulation.rendering.view import SEEN_FROM_ABOVE, TopView, View
from amodal_perception_ros.simulation.weather import Weather

SUN_MAP, NOISE_MAP, CONTACT, MIRROR, LAMP_MAP, PICTURE = range(6)
"""Texture units."""

STREET_LIGHTS = 35.0
"""Radiance of a lit street lamp."""


class Renderer(TruthRenderer):
    """Draws a town and its things for pictures of one size; the passes of the truth are inherited.

    Args:
        width, height: picture size [px].
        supersample: shaded points per pixel and axis.
        weather: light and air.
        tiles: static models in odom.
        look: what the cameras do to the light; None for clean pictures.
    """

    def __init__(self, width: int, height: int, supersample: int, weather: Weather, tiles: Sequence[Model],
                 look: CameraLook | None = None) -> None:  # fmt: skip
        super().__init__(width, height, tiles)
        self.supersample, self.weather = supersample, weather
        self.film = Film(width, height, look or CameraLook(), weather)
        with self.graphics.holding(width * supersample, height * supersample) as c:
            self._colour = {int(kind): self._program(kind) for kind in Kind}
            self._sky_program = c.program(vertex_shader=shaders.SCREEN_VERTEX, fragment_shader=shaders.SKY_FRAGMENT)
            self._resolve_program = c.program(
                vertex_shader=shaders.SCREEN_VERTEX, fragment_shader=shaders.RESOLVE_FRAGMENT
            )
            screen = c.buffer(np.array([-1, -1, 3, -1, -1, 3], "f4").tobytes())
            self._sky = c.vertex_array(self._sky_program, [(screen, "2f", "corner")])
            self._resolve = c.vertex_array(self._resolve_program, [(screen, "2f", "corner")], skip_errors=True)
            self._shadows = Shadows(self.graphics)
            self._targets()
            self._noise()
            self._constants()
        self._above_picture: moderngl.Framebuffer | None = None
        self._ground = 0.0

    # Set-up -----------------------------------------------------------------------------------------------

    def _program(self, kind: Kind) -> moderngl.Program:
        w = self.weather
        vertex, fragment = shaders.scene_sources(kind, w.casts_shadows, w.lamps, w.wet)
        return self.context.program(vertex_shader=vertex, fragment_shader=fragment)

    def _targets(self) -> None:
        c, w, h = self.context, self.width, self.height
        big, small = (w * self.supersample, h * self.supersample), (max(1, w // 2), max(1, h // 2))
        self._picture = c.texture(big, 4, dtype="f2")
        self._picture_frame = c.framebuffer([self._picture], c.depth_renderbuffer(big))
        self._mirror = c.texture(small, 4, dtype="f2")
        self._mirror.repeat_x = self._mirror.repeat_y = False
        self._mirror_frame = c.framebuffer([self._mirror], c.depth_renderbuffer(small))
        self._output = c.framebuffer([c.texture((w, h), 4, dtype="f4")])
        self._lamp_map = c.texture((2 * lamp_grid.CELLS, lamp_grid.CELLS), 4, dtype="f4")

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
            "horizon": w.horizon, "fog": w.fog, "clouds": w.clouds, "cloud_scale": w.cloud_scale,
            "cloud_place": w.cloud_place, "wear": w.wear, "puddles": w.puddles, "vehicle_lights": w.vehicle_lights,
            "street_lights": STREET_LIGHTS if w.lamps else 0.0, "lamp_color": w.lamp_color, "sun_map": SUN_MAP,
            "noise_map": NOISE_MAP, "contact": CONTACT, "mirror": MIRROR, "lamp_map": LAMP_MAP,
            "screen": self._picture_frame.size,
        }  # fmt: skip
        for program in (*self._colour.values(), self._sky_program):
            set_uniforms(program, **values)
        set_uniforms(self._resolve_program, picture=PICTURE, supersample=self.supersample)

    # Pictures ---------------------------------------------------------------------------------------------

    def begin(self, center: np.ndarray, things: Sequence[Item], footprints: np.ndarray, lamps: np.ndarray) -> None:
        """Prepare a frame: sun shadows and contact shadows around `center`, and the lights.

        Args:
            center: (3,) position of the ego vehicle on the ground [m]; wet ground mirrors at its height.
            things: everything movable in reach.
            footprints: (n, 7) x, y, cos yaw, sin yaw, half length, half width [m], strength of a contact shadow.
            lamps: (m, 8) x, y, z, power, direction, cosine of the half angle; the nearest
                `lamp_grid.MAX_LAMPS` are lit.
        """
        self.things = list(things)
        self._ground = float(center[2])
        with self.context:
            shared: dict[str, object] = {"contact_frame": self._shadows.draw_contact(center, footprints)}
            if self.weather.casts_shadows:
                items = (*self.tiles, *self.things)
                shared["sun_projection"] = self._shadows.draw_sun(center, np.array(self.weather.sun), items).T
            if self.weather.lamps:
                shared |= self._place_lamps(center, lamps)
            for program in self._colour.values():
                set_uniforms(program, **shared)

    def _place_lamps(self, center: np.ndarray, lamps: np.ndarray) -> dict[str, object]:
        near = np.argsort(np.hypot(*(lamps[:, :2] - center[:2]).T), kind="stable")[: lamp_grid.MAX_LAMPS]
        padded = np.zeros((lamp_grid.MAX_LAMPS, 8))
        padded[: len(near)] = lamps[near]
        self._lamp_map.write(lamp_grid.lamp_cells(lamps[near], center).tobytes())
        low = tuple(lamp_grid.low_corner(center).tolist())
        return {"lamp": padded[:, :4], "lamp_axis": padded[:, 4:], "lamp_low": low}

    def picture(self, view: View, seed: int) -> np.ndarray:
        """Return the (height, width, 3) uint8 RGB picture of a camera; `seed` varies the sensor noise."""
        return self.film.develop(self.light(view), seed, view.camera.name)

    def light(self, view: View) -> np.ndarray:
        """Return the (height, width, 3) float32 linear radiance that reaches a camera; 1 is white paper by day."""
        with self.context as c:
            if self.weather.wet:
                self._mirror_frame.use()
                self._mirror_frame.clear(0, 0, 0, 0, depth=1.0)
                self._draw_colour(_mirrored(view, self._ground), ground=False)
            self._picture_frame.use()
            self._picture_frame.clear(0, 0, 0, 1, depth=1.0)
            self._draw_colour(view, ground=True)
            self._draw_sky(view)
            self._picture.use(PICTURE)
            self._output.use()
            c.enable_only(moderngl.NOTHING)
            self._resolve.render()
            return read_frame(self._output, 3, "f4")

    def picture_above(self, low: np.ndarray, cell: float, count: int) -> np.ndarray:
        """Return a (count, count, 3) uint8 RGB picture of a square from straight above, row 0 at its greatest y.

        It shows the light and the wetness of the weather, but neither haze nor rain drops.

        Args:
            low: (2,) lower-left corner of the square in odom [m].
            cell: size of a pixel [m].
            count: pixels per side.
        """
        with self.context as c:
            if self._above_picture is None or self._above_picture.width != count:
                texture = c.texture((count, count), 4, dtype="f4")
                self._above_picture = c.framebuffer([texture], c.depth_renderbuffer((count, count)))
                self._above_film = Film(count, count, CameraLook(), replace(self.weather, rain=0.0))
            self._mirror_frame.clear(0, 0, 0, 0)
            self._above_picture.use()
            self._above_picture.clear(0, 0, 0, 1, depth=1.0)
            self._set_fog(0.0)
            self._draw_colour(TopView(low, cell * count, SEEN_FROM_ABOVE), ground=True)
            self._set_fog(self.weather.fog)
            light = read_frame(self._above_picture, 3, "f4")
        return self._above_film.develop(light, 0, "above")

    def _set_fog(self, extinction: float) -> None:
        for program in self._colour.values():
            set_uniforms(program, fog=extinction)

    def _draw_sky(self, view: View) -> None:
        k = view.camera.intrinsics
        half = (self.width / 2 / k[0, 0], self.height / 2 / k[1, 1])
        shift = ((self.width / 2 - k[0, 2]) / k[0, 0], (self.height / 2 - k[1, 2]) / k[1, 1])
        set_uniforms(self._sky_program, world_from_camera=view.odom_from_camera[:3, :3].T, lens=(*half, *shift))
        self.context.depth_func = "<="
        self._sky.render()
        self.context.depth_func = "<"

    def _draw_colour(self, view: View | TopView, ground: bool) -> None:
        """Draw all surfaces into the current frame; without the ground for its own mirror image."""
        self.context.enable_only(moderngl.DEPTH_TEST)
        self._shadows.use(SUN_MAP, CONTACT)
        self._noise_map.use(NOISE_MAP)
        self._mirror.use(MIRROR)
        self._lamp_map.use(LAMP_MAP)
        by_kind: dict[int, list[tuple[Item, int, int]]] = {}
        front_to_back = sorted(
            (*self.things, *self.tiles), key=lambda item: distance(item, view.odom_from_camera[:3, 3])
        )
        for item in in_sight(view, front_to_back):
            for kind, first, count in item.model.ranges:
                if ground or kind not in shaders.GROUND:
                    by_kind.setdefault(kind, []).append((item, first, count))
        eye = tuple(view.odom_from_camera[:3, 3])
        for kind in sorted(by_kind):
            program = self._colour[kind]
            set_uniforms(program, view_projection=view.projection.T, eye=eye, mirroring=float(ground))
            for item, first, count in by_kind[kind]:
                set_uniforms(
                    program, model=item.matrix.T, palette=item.palette, lights=float(item.lights), look=item.look
                )
                self.graphics.array(program, item.model).render(vertices=count, first=first)


def _mirrored(view: View, height: float) -> View:
    """The view of the eye below a mirror at a height: its picture is that of the mirror image, seen in the mirror."""
    mirror = np.diag([1.0, 1.0, -1.0, 1.0])
    mirror[2, 3] = 2 * height
    return View(view.camera, mirror @ view.odom_from_camera)
