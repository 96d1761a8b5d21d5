"""The renderer for machines without OpenGL: everything by ray casting (Embree), the same truth, plainer pictures.

Surfaces show the colours of their materials without textures, glass and puddles do not mirror, and of the lamps only
the pools of light of the nearest are there. Ids, depth, flow and masks are as exact as those of OpenGL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import Kind, Model
from amodal_perception_ros.simulation.rendering.camera_effects import Film
from amodal_perception_ros.simulation.rendering.camera_look import CameraLook
from amodal_perception_ros.simulation.rendering.drawing import Item
from amodal_perception_ros.simulation.rendering.flow import displacement, pixel_rays
from amodal_perception_ros.simulation.rendering.raycasting import NOTHING, TOWN, Hits, RayCaster
from amodal_perception_ros.simulation.rendering.view import NEAR, SEEN_FROM_ABOVE, View, box_corners
from amodal_perception_ros.simulation.weather import Weather

SHADOW_OFFSET = 0.03
"""Shadow rays start this far above the surface [m]."""

LIT_LAMPS = 12


class RaycastRenderer:
    """Draws a town and its things without OpenGL; see `SceneRenderer`.

    Args:
        width, height: picture size [px].
        weather: light and air.
        tiles: static models in odom.
        look: lens, sensor and image processor of the cameras.
        caster: of the same tiles; its ray trees are shared with the LiDAR.
    """

    def __init__(
        self, width: int, height: int, weather: Weather, tiles: Sequence[Model], look: CameraLook, caster: RayCaster
    ) -> None:
        self.width, self.height, self.weather = width, height, weather
        self.tiles = [Item(tile, np.eye(4), np.zeros((4, 3))) for tile in tiles]
        self._caster, self._nothing = caster, RayCaster([])
        self._film = Film(width, height, look, weather)
        self._film_above: tuple[int, Film] | None = None
        self._town = np.concatenate([tile.vertices[::3] for tile in tiles]) if tiles else np.zeros(0)
        self._town_kind = np.concatenate([_kinds(tile) for tile in tiles]) if tiles else np.zeros(0, np.int64)
        self.things: list[Item] = []
        self._lamps = np.zeros((0, 8))

    def release(self) -> None:
        """Forget the frame; there is nothing else to free."""
        self.things = []

    def begin(self, center: np.ndarray, things: Sequence[Item], footprints: np.ndarray, lamps: np.ndarray) -> None:
        """Prepare a frame: everything movable, and the lamps nearest to the ego vehicle."""
        self.things = list(things)
        near = np.argsort(np.hypot(*(lamps[:, :2] - np.asarray(center)[:2]).T), kind="stable")
        self._lamps = lamps[near[:LIT_LAMPS]]

    # Truth ------------------------------------------------------------------------------------------------

    def segments(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Return (H, W) uint16 segment ids and (H, W) float32 planar depth [m]; both are 0 in the sky."""
        rays, hits = self._cast(view)
        depth = np.where(hits.owner == NOTHING, 0.0, hits.distance * rays[:, 2])
        shape = (self.height, self.width)
        return hits.segment.reshape(shape).astype(np.uint16), depth.reshape(shape).astype(np.float32)

    def alone(self, view: View, item: Item) -> tuple[int, int, np.ndarray] | None:
        """Return (left, top, (h, w) float32 planar depth [m], 0 outside) of one item without anything else, or None."""
        rectangle = view.rectangle(box_corners(item.model.low, item.model.high), item.matrix)
        if rectangle is None:
            return None
        left, top, right, bottom = rectangle
        rays = _unit_rays(view)[top:bottom, left:right].reshape(-1, 3)
        world = rays @ view.odom_from_camera[:3, :3].T
        met, distance = self._caster.alone(view.odom_from_camera[:3, 3], world, item)
        depth = np.zeros((bottom - top, right - left), np.float32)
        depth.flat[met] = distance * rays[met, 2]
        rows, columns = np.flatnonzero((depth > 0).any(1)), np.flatnonzero((depth > 0).any(0))
        if not rows.size:
            return None
        cut = depth[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return left + int(columns[0]), top + int(rows[0]), cut.copy()

    def flow(self, view: View, next_view: View) -> np.ndarray:
        """Return (H, W, 2) float32 forward optical flow (right, down) [px]; NaN behind the next camera."""
        rays, hits = self._cast(view)
        turn, eye = view.odom_from_camera[:3, :3], view.odom_from_camera[:3, 3]
        found = hits.owner != NOTHING
        points = np.where(found, hits.distance, 1.0)[:, None] * (rays @ turn.T) + eye
        for index, item in enumerate(self.things):
            mine = np.flatnonzero(hits.owner == index)
            if mine.size:
                points[mine] = _moved(item, points[mine], hits.triangle[mine])
        camera_from_odom = np.linalg.inv(next_view.odom_from_camera)
        moved = points @ camera_from_odom[:3, :3].T + camera_from_odom[:3, 3]
        moved[~found] = rays[~found] @ (camera_from_odom[:3, :3] @ turn).T
        shape = (self.height, self.width)
        return displacement(moved.reshape(*shape, 3), next_view, np.where(found, NEAR, 0.0).reshape(shape))

    def above(self, low: np.ndarray, cell: float, count: int, layers: Sequence[Sequence[Item]],
              bands: Sequence[tuple[float, float]]) -> list[np.ndarray]:  # fmt: skip
        """Return per layer the (count, count) uint16 segments seen from straight above within a height band."""
        out = []
        for items, (z_min, z_max) in zip(layers, bands):
            hits = self._cast_down(self._nothing, items, low, cell, count, z_max)[2]
            inside = z_max - hits.distance > z_min
            out.append(np.where(inside, hits.segment, 0).reshape(count, count).astype(np.uint16))
        return out

    # Pictures ---------------------------------------------------------------------------------------------

    def picture(self, view: View, seed: int) -> np.ndarray:
        """Return the (height, width, 3) uint8 RGB picture of a camera; `seed` varies the sensor noise."""
        rays, hits = self._cast(view)
        world = rays @ view.odom_from_camera[:3, :3].T
        light = self._light(view.odom_from_camera[:3, 3], world, hits, self.weather.fog, self.things)
        return self._film.develop(light.reshape(self.height, self.width, 3), seed, view.camera.name)

    def picture_above(self, low: np.ndarray, cell: float, count: int) -> np.ndarray:
        """Return a (count, count, 3) uint8 RGB picture of a square from straight above, row 0 at its greatest y."""
        if self._film_above is None or self._film_above[0] != count:
            self._film_above = count, Film(count, count, CameraLook(), replace(self.weather, rain=0.0))
        origins, rays, hits = self._cast_down(self._caster, self.things, low, cell, count, SEEN_FROM_ABOVE[1])
        light = self._light(origins, rays, hits, 0.0, ())
        return self._film_above[1].develop(light.reshape(count, count, 3)[::-1], 0, "above")

    def _cast(self, view: View) -> tuple[np.ndarray, Hits]:
        rays = _unit_rays(view).reshape(-1, 3)
        return rays, self._caster.cast(
            view.odom_from_camera[:3, 3], rays @ view.odom_from_camera[:3, :3].T, self.things
        )

    def _cast_down(
        self, caster: RayCaster, items: Sequence[Item], low: np.ndarray, cell: float, count: int, top: float
    ) -> tuple[np.ndarray, np.ndarray, Hits]:
        """Return origins at height `top` over the cells of a square, rays straight down, and what they meet."""
        centre = (np.arange(count) + 0.5) * cell
        x, y = np.meshgrid(low[0] + centre, low[1] + centre)
        origins = np.stack([x.ravel(), y.ravel(), np.full(count * count, top)], -1)
        rays = np.broadcast_to((0.0, 0.0, -1.0), origins.shape)
        near = [_cells_below(item, low, cell, count) for item in items]
        return origins, rays, caster.cast(origins, rays, items, near)

    def _light(
        self, origin: np.ndarray, rays: np.ndarray, hits: Hits, extinction: float, shading: Sequence[Item]
    ) -> np.ndarray:
        """Return the (n, 3) float32 radiance along rays: sun with shadows, sky, lamps and air."""
        weather, found = self.weather, hits.owner != NOTHING
        distance = np.where(found, hits.distance, 1.0)
        points = origin + distance[:, None] * rays
        normal = np.where(((hits.normal * rays).sum(1) > 0)[:, None], -hits.normal, hits.normal)
        albedo, emitted, ao = self._surfaces(hits)
        sun = np.maximum(normal @ np.array(weather.sun), 0.0)
        if weather.casts_shadows:
            lit = np.flatnonzero(found & (sun > 0))
            start = points[lit] + SHADOW_OFFSET * normal[lit]
            sun[lit] *= ~self._caster.hidden(start, np.array(weather.sun), shading)
        sky = (0.65 + 0.35 * normal[:, 2])[:, None] * np.array(weather.ambient) * ao[:, None]
        light = albedo * (sun[:, None] * np.array(weather.sun_color) + sky + self._lamp_light(points, normal)) + emitted
        clear = np.exp(-extinction * distance)[:, None]
        light = clear * light + (1 - clear) * np.array(weather.fog_color)
        up = np.clip(rays[:, 2:], 0, 1) ** 0.5
        heaven = (1 - up) * np.array(weather.horizon) + up * np.array(weather.zenith)
        return np.where(found[:, None], light, heaven).astype(np.float32)

    def _surfaces(self, hits: Hits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return albedo and emitted light (n, 3), and ambient occlusion (n,), of what rays met."""
        count = len(hits.owner)
        albedo, emitted, ao = np.zeros((count, 3)), np.zeros((count, 3)), np.ones(count)
        for index in np.unique(hits.owner[hits.owner != NOTHING]).tolist():
            mine = np.flatnonzero(hits.owner == index)
            if index == TOWN:
                corner, kind, item = self._town[hits.triangle[mine]], self._town_kind[hits.triangle[mine]], None
            else:
                item = self.things[index]
                corner, kind = item.model.vertices[::3][hits.triangle[mine]], _kinds(item.model)[hits.triangle[mine]]
            color, slot = corner["color"][:, :3].astype(float), corner["slot"].astype(np.int64)
            lamp = kind == int(Kind.LAMP)
            if item is not None:
                taken = (slot > 0) & ~lamp
                color[taken] = item.palette[slot[taken] - 1]
            strength = np.where(slot > 2, 6.0 * self.weather.lamps, 0.0)
            if item is not None and item.lights:
                strength = np.where(slot <= 2, 0.3 * self.weather.vehicle_lights, strength)
            albedo[mine], ao[mine] = color * np.where(lamp, 0.5, 1.0)[:, None], corner["ao"]
            emitted[mine] = color * np.where(lamp, strength, 0.0)[:, None]
        return albedo, emitted, ao

    def _lamp_light(self, points: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Return the (n, 3) light of the lamps, without shadows."""
        out = np.zeros_like(points)
        for lamp in self._lamps:
            way = lamp[:3] - points
            square = np.maximum((way**2).sum(1), 0.25)
            toward = way / np.sqrt(square)[:, None]
            cone = np.clip((-(toward @ lamp[4:7]) - lamp[7]) / max(1e-3, 1 - lamp[7]), 0, 1)
            strength = lamp[3] * cone * np.maximum((toward * normal).sum(1), 0) / square
            out += (0.08 * strength)[:, None] * np.array((1.0, 0.86, 0.62))
        return out


def _unit_rays(view: View) -> np.ndarray:
    rays = pixel_rays(view)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def _cells_below(item: Item, low: np.ndarray, cell: float, count: int) -> np.ndarray:
    """Return the flat indices of the cells of a square that lie below the bounding box of an item."""
    first = np.clip(np.floor((item.corners[:, :2].min(0) - low) / cell).astype(int), 0, count)
    last = np.clip(np.ceil((item.corners[:, :2].max(0) - low) / cell).astype(int), 0, count)
    columns, rows = np.arange(first[0], last[0]), np.arange(first[1], last[1])
    return (rows[:, None] * count + columns).ravel()


def _kinds(model: Model) -> np.ndarray:
    """Return the material kind of every triangle."""
    return np.repeat([kind for kind, _, _ in model.ranges], [count // 3 for _, _, count in model.ranges])


def _moved(item: Item, points: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    """Return where (n, 3) points on triangles of an item are one frame later, in odom."""
    local = (points - item.matrix[:3, 3]) @ item.matrix[:3, :3]
    if item.next_model is not None and item.next_model is not item.model:
        share = _barycentric(item.model.triangles[triangle].astype(float), local)
        local = (share[..., None] * item.next_model.triangles[triangle]).sum(1)
    matrix = item.matrix if item.next_matrix is None else item.next_matrix
    return local @ matrix[:3, :3].T + matrix[:3, 3]


def _barycentric(triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the (n, 3) barycentric coordinates of points in the planes of (n, 3, 3) triangles."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    wu, wv = (w * u).sum(1), (w * v).sum(1)
    size = uu * vv - uv**2
    second, third = (vv * wu - uv * wv) / size, (uu * wv - uv * wu) / size
    return np.stack([1 - second - third, second, third], 1)
