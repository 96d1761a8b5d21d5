"""OpenGL (EGL) renderer: pictures, segment ids with planar depth, each thing alone, and the view from above."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import moderngl
import numpy as np

from amodal_perception_ros.simulation import shaders
from amodal_perception_ros.simulation.config import Weather
from amodal_perception_ros.simulation.meshes import VERTEX, Kind, Model
from amodal_perception_ros.simulation.view import View, box_corners

SHADOW_SIZE, SHADOW_REACH = 2048, 60.0
CONTACT_SIZE, CONTACT_REACH = 512, 48.0


class RendererError(RuntimeError):
    """No off-screen OpenGL context can be created on this machine."""


@dataclass(eq=False)
class Item:
    """Something to draw: a model, its pose, palette, segment id, whether its lamps are on, and a look number 0..1."""

    model: Model
    matrix: np.ndarray
    palette: np.ndarray
    segment: int = 0
    lights: bool = False
    look: float = 0.0


@dataclass(eq=False)
class _Uploaded:
    """A model on the GPU: its buffer and one vertex array per program."""

    buffer: moderngl.Buffer
    count: int
    colour: list[tuple[int, moderngl.VertexArray, int, int]]
    truth: moderngl.VertexArray
    shadow: moderngl.VertexArray


def create_context() -> moderngl.Context:
    """Return an off-screen OpenGL context (EGL).

    Raises:
        RendererError: EGL or OpenGL 3.3 is missing; the message names the packages.
    """
    os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        options: dict[str, Any] = {"backend": "egl", "libgl": "libGL.so.1", "libegl": "libEGL.so.1"}
        return moderngl.create_context(standalone=True, require=330, **options)
    except Exception as error:
        raise RendererError(
            f"no off-screen OpenGL 3.3 context through EGL ({error}); the simulator needs Mesa or a GPU driver: on "
            "Debian and Ubuntu install libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri"
        ) from error


class Renderer:
    """Draws a town and its things for pictures of one size.

    Args:
        width, height: picture size [px].
        supersample: shaded points per pixel and axis.
        weather: light and air.
        tiles: static models in odom.
    """

    def __init__(self, width: int, height: int, supersample: int, weather: Weather, tiles: Sequence[Model]) -> None:
        self.width, self.height, self.supersample, self.weather = width, height, supersample, weather
        self.context = create_context()
        with self.context:
            self._programs()
            self._targets()
            self._noise()
            self._screen = self.context.buffer(np.array([-1, -1, 3, -1, -1, 3], "f4").tobytes())
            self._sky = self.context.vertex_array(self._sky_program, [(self._screen, "2f", "corner")])
            self._film = self.context.vertex_array(self._film_program, [(self._screen, "2f", "corner")])
            self._models: dict[int, tuple[Model, _Uploaded]] = {}
            self.tiles = [Item(tile, np.eye(4), np.zeros((4, 3)), look=0.13 * (k % 7)) for k, tile in enumerate(tiles)]
            for tile in tiles:
                self._uploaded(tile)
            self._constants()

    def release(self) -> None:
        """Free the GPU objects and the context."""
        with self.context:
            for _, uploaded in self._models.values():
                for _, array, _, _ in uploaded.colour:
                    array.release()
                uploaded.truth.release()
                uploaded.shadow.release()
                uploaded.buffer.release()
        self._models.clear()
        self.context.release()

    # Set-up -----------------------------------------------------------------------------------------------

    def _programs(self) -> None:
        program, w = self.context.program, self.weather
        self._colour = {}
        for kind in Kind:
            vertex, fragment = shaders.scene_sources(kind, w.casts_shadows, w.lamps, w.wet)
            self._colour[int(kind)] = program(vertex_shader=vertex, fragment_shader=fragment)
        self._truth = program(vertex_shader=shaders.TRUTH_VERTEX, fragment_shader=shaders.TRUTH_FRAGMENT)
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
        self._truth_texture = c.texture((w, h), 2, dtype="f4")
        self._truth_frame = c.framebuffer([self._truth_texture], c.depth_renderbuffer((w, h)))
        self._sun_map = c.depth_texture((SHADOW_SIZE, SHADOW_SIZE))
        self._sun_map.compare_func = "<="
        self._sun_map.repeat_x = self._sun_map.repeat_y = False
        self._sun_frame = c.framebuffer(depth_attachment=self._sun_map)
        self._contact_texture = c.texture((CONTACT_SIZE, CONTACT_SIZE), 1, dtype="f1")
        self._contact_texture.repeat_x = self._contact_texture.repeat_y = False
        self._contact_frame = c.framebuffer([self._contact_texture])
        self._above: tuple[int, moderngl.Framebuffer] | None = None

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
            _set(program, **values)
        _set(
            self._film_program,
            picture=4,
            size=(self.width, self.height),
            supersample=self.supersample,
            exposure=w.exposure,
            noise=w.noise,
            rain=float(w.wet),
            glow=float(w.lamps),
            gain=w.white_balance,
        )

    def _uploaded(self, model: Model) -> _Uploaded:
        known = self._models.get(id(model))
        if known is not None:
            return known[1]
        c = self.context
        buffer = c.buffer(np.ascontiguousarray(model.vertices).tobytes())
        layout = "3f 3f 2f 4f 1f 1f 1f"
        names = VERTEX.names or ()

        def array(program: moderngl.Program) -> moderngl.VertexArray:
            return c.vertex_array(program, [(buffer, layout, *names)], skip_errors=True)

        colour = [(kind, array(self._colour[kind]), first, count) for kind, first, count in model.ranges]
        uploaded = _Uploaded(buffer, len(model.vertices), colour, array(self._truth), array(self._shadow))
        self._models[id(model)] = (model, uploaded)
        return uploaded

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
                _set(program, lamp_count=len(lamps), lamp=padded[:, :4], lamp_axis=padded[:, 4:])

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
            _set(program, sun_projection=projection.T)
        self._sun_frame.use()
        self._sun_frame.clear(depth=1.0)
        self.context.enable_only(moderngl.DEPTH_TEST)
        _set(self._shadow, view_projection=projection.T)
        for item in (*self.tiles, *self.things):
            if _in_reach(item, center, SHADOW_REACH * 1.5):
                _set(self._shadow, model=item.matrix.T)
                self._uploaded(item.model).shadow.render()

    def _draw_contact(self, center: np.ndarray, footprints: np.ndarray) -> None:
        low = np.asarray(center) - CONTACT_REACH
        frame = (float(low[0]), float(low[1]), 0.5 / CONTACT_REACH, 0.5 / CONTACT_REACH)
        for program in (self._contact, *self._colour.values()):
            _set(program, contact_frame=frame)
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
                _set(program, view_projection=view.projection.T, eye=eye)
            self._draw_colour(view)
            half = (self.width / 2 / k[0, 0], self.height / 2 / k[1, 1])
            shift = ((self.width / 2 - k[0, 2]) / k[0, 0], (self.height / 2 - k[1, 2]) / k[1, 1])
            _set(self._sky_program, world_from_camera=view.odom_from_camera[:3, :3].T, lens=(*half, *shift))
            c.depth_func = "<="
            self._sky.render()
            c.depth_func = "<"
            self._picture.build_mipmaps()
            self._picture.use(4)
            self._output.use()
            c.enable_only(moderngl.NOTHING)
            _set(self._film_program, seed=seed % 2**30)
            self._film.render()
            return _read(self._output, self.width, self.height, 3, "f1")

    def _draw_colour(self, view: View) -> None:
        by_kind: dict[int, list[tuple[Item, moderngl.VertexArray, int, int]]] = {}
        for item in (*self.things, *self.tiles):
            if view.sees(item.model.low, item.model.high, item.matrix):
                for kind, array, first, count in self._uploaded(item.model).colour:
                    by_kind.setdefault(kind, []).append((item, array, first, count))
        for kind in sorted(by_kind):
            program = self._colour[kind]
            for item, array, first, count in by_kind[kind]:
                _set(program, model=item.matrix.T, palette=item.palette, lights=float(item.lights), look=item.look)
                array.render(vertices=count, first=first)

    # Truth ------------------------------------------------------------------------------------------------

    def segments(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Return (H, W) uint16 segment ids and (H, W) float32 planar depth [m]; both are 0 in the sky."""
        with self.context:
            self._begin_truth(view)
            self._truth_frame.clear(0, 0, 0, 0, depth=1.0)
            for item in (*self.tiles, *self.things):
                if view.sees(item.model.low, item.model.high, item.matrix):
                    self._draw_truth(item)
            both = _read(self._truth_frame, self.width, self.height, 2, "f4")
            return both[..., 0].astype(np.uint16), both[..., 1].copy()

    def alone(self, view: View, item: Item) -> tuple[int, int, np.ndarray] | None:
        """Draw one item without anything else.

        Returns:
            (left, top, (h, w) float32 planar depth [m], 0 outside the item), or None when no pixel shows it.
        """
        if not view.sees(item.model.low, item.model.high, item.matrix):
            return None
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
        with self.context:
            if self._above is None or self._above[0] != count:
                texture = self.context.texture((count, count), 2, dtype="f4")
                depth = self.context.depth_renderbuffer((count, count))
                self._above = (count, self.context.framebuffer([texture], depth))
            frame, half = self._above[1], cell * count / 2
            frame.use()
            self.context.enable_only(moderngl.DEPTH_TEST)
            out = []
            for items, (z_min, z_max) in zip(layers, bands):
                middle, span = 0.5 * (z_min + z_max), 0.5 * (z_max - z_min)
                projection = np.diag([1 / half, 1 / half, -1 / span, 1.0])
                projection[:3, 3] = [-(low[0] + half) / half, -(low[1] + half) / half, middle / span]
                _set(self._truth, view_projection=projection.T, depth_row=(0.0, 0.0, 1.0, 0.0))
                frame.clear(0, 0, 0, 0, depth=1.0)
                for item in items:
                    self._draw_truth(item)
                out.append(_read(frame, count, count, 2, "f4")[::-1, :, 0].astype(np.uint16))
            return out

    def _begin_truth(self, view: View) -> None:
        self._truth_frame.use()
        self.context.enable_only(moderngl.DEPTH_TEST)
        _set(self._truth, view_projection=view.projection.T, depth_row=tuple(view.depth_row))

    def _draw_truth(self, item: Item) -> None:
        _set(self._truth, model=item.matrix.T, segment=float(item.segment))
        self._uploaded(item.model).truth.render()


def _in_reach(item: Item, center: np.ndarray, reach: float) -> bool:
    middle = item.matrix[:2, :2] @ (0.5 * (item.model.low + item.model.high))[:2] + item.matrix[:2, 3]
    size = 0.5 * float(np.hypot(*(item.model.high - item.model.low)[:2]))
    return bool(np.hypot(*(middle - np.asarray(center)[:2])) < reach + size)


def _set(program: moderngl.Program, **values: object) -> None:
    """Set those uniforms that the program uses."""
    for name, value in values.items():
        if name in program:
            uniform: Any = program[name]
            if isinstance(value, np.ndarray):
                uniform.write(np.ascontiguousarray(value, "f4").tobytes())
            else:
                uniform.value = value


def _read(frame: moderngl.Framebuffer, width: int, height: int, components: int, dtype: str) -> np.ndarray:
    """Read a framebuffer as (height, width, components), first row on top."""
    data = frame.read(components=components, dtype=dtype, alignment=1)
    kind = np.uint8 if dtype == "f1" else np.float32
    return np.frombuffer(data, kind).reshape(height, width, components)[::-1].copy()
