"""A rotating LiDAR by ray casting: rings, intensity by material, incidence and range, drop-outs, noise, weather.

The received power follows the LiDAR equation for a surface larger than the beam, P ~ rho exp(-2 a r) / r^2 (rho the
reflectance towards the sensor, a the extinction of the air, r the range): Rasshofer, Spies, Spies, "Influences of
weather phenomena on automotive laser radar systems", Adv. Radio Sci. 9, 2011, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.simulation.assets.meshes import Kind, Model
from amodal_perception_ros.simulation.config import SequenceConfig, Stream
from amodal_perception_ros.simulation.rendering.drawing import Item
from amodal_perception_ros.simulation.rendering.raycasting import TOWN, Hits, RayCaster

AZIMUTHS = 1024
MIN_RANGE, MAX_RANGE = 0.8, 90.0
"""Shortest and longest measured range [m]."""

_SURFACE = np.dtype([("base", "f4"), ("share", "f4"), ("color", "f4"), ("slot", "i4"), ("specular", "f4"),
                     ("retro", "f4"), ("film", "?")])  # fmt: skip

_MATERIALS = {
    Kind.ASPHALT: (0.08, 0.7, 0.0, 0.0),
    Kind.FACADE: (0.10, 0.6, 0.0, 0.0),
    Kind.LEAF: (0.40, 0.3, 0.0, 0.0),
    Kind.GLASS: (0.008, 0.0, 0.5, 0.0),
    Kind.LAMP: (0.15, 0.2, 0.2, 0.3),
    Kind.PAINT: (0.03, 0.5, 0.3, 0.0),
    Kind.PAVING: (0.10, 0.6, 0.0, 0.0),
    Kind.GRASS: (0.35, 0.3, 0.0, 0.0),
    Kind.CLOTH: (0.25, 0.5, 0.0, 0.0),
    Kind.MARKING: (0.15, 0.3, 0.0, 0.5),
}
"""Near-infrared reflectance: constant part, share of the visible colour, mirror-like and retro-reflecting part."""

_GLOSS = 300
"""Exponent of the mirror-like part's lobe: half of it lies within 4 degrees of normal incidence."""

_OTHER = (0.08, 0.6, 0.0, 0.0)
_SIGN = (0.05, 0.1, 0.0, 0.9)
_WETTED = (Kind.ASPHALT, Kind.PAVING, Kind.MARKING)


@dataclass(frozen=True)
class Lidar:
    """A device; the values are drawn from the section `lidar` of the distributions.

    Attributes:
        rings: number of beams above each other.
        range_noise: standard deviation of the range of a strong echo at normal incidence [m].
        divergence: full opening angle of a beam [rad].
        grazing_noise: standard deviation of the range on a tilted surface, as a share of the depth of the beam's spot.
        half_range: range [m] at which half of the echoes of a surface of 10 % reflectance are detected in clear air.
        dropout: share of echoes lost for no reason.
        intensity_noise: standard deviation of the intensity, as a share of it.
        backscatter: echoes of drops per metre of beam, as a share of the air's extinction [1/m].
    """

    rings: int
    range_noise: float
    divergence: float
    grazing_noise: float
    half_range: float
    dropout: float
    intensity_noise: float
    backscatter: float


@dataclass(eq=False)
class Sweep:
    """One turn of the device, all at one instant.

    Attributes:
        points: (n, 4) float32 x, y, z [m] in the LiDAR frame and intensity 0..1.
        rings: (n,) uint8 ring of each point, 0 the lowest.
        segments: (n,) uint16 segment id of the surface behind each point, 0 for an echo of fog or rain.
    """

    points: np.ndarray
    rings: np.ndarray
    segments: np.ndarray


def draw_lidar(config: SequenceConfig) -> Lidar:
    """Return the device of a sequence."""
    rng = config.stream(Stream.LIDAR)
    return Lidar(**{f.name: config.distributions.draw(rng, f"lidar.{f.name}") for f in fields(Lidar)})


def lidar_directions(rings: int) -> np.ndarray:
    """Return (rings * AZIMUTHS, 3) unit vectors in the LiDAR frame: elevations -25..12 degrees, denser near 0."""
    share = np.linspace(-1, 1, rings)
    elevation = np.radians(np.where(share < 0, -25, 12) * np.abs(share) ** 1.3)[:, None]
    azimuth = np.linspace(-np.pi, np.pi, AZIMUTHS, endpoint=False)[None]
    z = np.broadcast_to(np.sin(elevation), (rings, AZIMUTHS))
    x, y = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
    return np.stack([x, y, z], -1).reshape(-1, 3)


class LidarSensor:
    """Takes sweeps of a town and its things.

    Args:
        lidar: the device.
        tiles: static models in odom.
        extinction: of the air [1/m].
        wet: the road has a film of water.
    """

    def __init__(self, lidar: Lidar, tiles: Sequence[Model], extinction: float, wet: bool) -> None:
        self.lidar, self.extinction, self.wet = lidar, extinction, wet
        self.caster = RayCaster(tiles)
        self._directions = lidar_directions(lidar.rings)
        self._town = np.concatenate([_surfaces(tile) for tile in tiles]) if tiles else np.zeros(1, _SURFACE)
        self._models: dict[int, tuple[Model, np.ndarray]] = {}

    def sweep(self, odom_from_lidar: np.ndarray, items: Sequence[Item], rng: np.random.Generator) -> Sweep:
        """Return one sweep from a (4, 4) pose among the items of a frame."""
        lidar, directions = self.lidar, self._directions
        hits = self.caster.cast(odom_from_lidar[:3, 3], directions @ odom_from_lidar[:3, :3].T, items)
        reflectance = self._reflectance(hits, items)
        count = len(directions)
        noise, luck, shade = rng.normal(size=count), rng.random((2, count)), rng.normal(size=count)
        drop_range, drop = self._drops(rng, count)
        with np.errstate(invalid="ignore", over="ignore"):
            power = self._power(reflectance, hits.distance)
            seen = (hits.distance > MIN_RANGE) & (hits.distance < MAX_RANGE) & (luck[0] < _detection(power))
            stray = (drop_range < np.minimum(hits.distance, MAX_RANGE)) & (
                luck[1] < _detection(self._power(drop, drop_range))
            )
            stddev = self._range_stddev(power, hits)
        keep = np.flatnonzero((seen | stray) & (rng.random(count) >= lidar.dropout))
        distance = np.where(stray, drop_range, hits.distance + noise * np.where(seen, stddev, 0.0))[keep]
        value = np.where(stray, drop, reflectance)[keep] * np.exp(-2 * self.extinction * distance)
        intensity = np.clip(value * (1 + lidar.intensity_noise * shade[keep]), 0, 1)
        points = np.concatenate([directions[keep] * distance[:, None], intensity[:, None]], 1)
        segments = np.where(stray, 0, hits.segment)[keep]
        return Sweep(points.astype(np.float32), (keep // AZIMUTHS).astype(np.uint8), segments.astype(np.uint16))

    def _power(self, reflectance: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Received power, 1 for 10 % reflectance at `half_range` in clear air."""
        return reflectance / 0.1 * (self.lidar.half_range / distance) ** 2 * np.exp(-2 * self.extinction * distance)

    def _range_stddev(self, power: np.ndarray, hits: Hits) -> np.ndarray:
        """Range noise [m]: grows for weak echoes, and with the depth of the spot on a tilted surface."""
        tangent = np.sqrt(1 - np.minimum(hits.cosine, 1) ** 2) / np.maximum(hits.cosine, 0.02)
        spot = hits.distance * self.lidar.divergence * tangent
        weak = 1 + 1 / np.maximum(power, 0.1)
        return np.sqrt(self.lidar.range_noise**2 * weak + (self.lidar.grazing_noise * spot) ** 2)

    def _drops(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Range [m] and reflectance of the first drop of fog or rain that each beam meets."""
        rate = self.lidar.backscatter * self.extinction
        with np.errstate(divide="ignore"):
            distance = MIN_RANGE + rng.exponential(size=count) / np.float64(rate)
        return distance, 10 ** rng.uniform(-3.5, -1.5, count)

    def _reflectance(self, hits: Hits, items: Sequence[Item]) -> np.ndarray:
        """Reflectance towards the sensor of what each ray met."""
        surface = np.zeros(len(hits.distance), _SURFACE)
        town = hits.owner == TOWN
        surface[town] = self._town[hits.triangle[town]]
        for index in np.unique(hits.owner[hits.owner >= 0]).tolist():
            mine = np.flatnonzero(hits.owner == index)
            found = self._surfaces_of(items[index].model)[hits.triangle[mine]]
            painted = found["slot"] > 0
            found["color"][painted] = items[index].palette.mean(1)[found["slot"][painted] - 1]
            surface[mine] = found
        cosine = np.clip(hits.cosine, 0.0, 1.0)
        diffuse = (surface["base"] + surface["share"] * surface["color"]) * cosine
        retro = surface["retro"] * np.sqrt(cosine)
        if self.wet:
            # A film of water (n = 1.33) mirrors flat beams away, Schlick's approximation of Fresnel's equations.
            through = (1 - (0.02 + 0.98 * (1 - cosine) ** 5)) ** 2
            diffuse = np.where(surface["film"], 0.5 * through * diffuse, diffuse)
            retro = np.where(surface["film"], 0.2 * through * retro, retro)
        return diffuse + retro + surface["specular"] * cosine**_GLOSS

    def _surfaces_of(self, model: Model) -> np.ndarray:
        known = self._models.get(id(model))
        if known is None:
            known = self._models[id(model)] = (model, _surfaces(model))
        return known[1]


def _detection(power: np.ndarray) -> np.ndarray:
    """Probability that an echo is detected: one half at power 1, and steep in it."""
    return 1 - 1 / (1 + power**3)


def _surfaces(model: Model) -> np.ndarray:
    """The optical properties of each triangle."""
    corner = model.vertices[::3]
    out = np.zeros(len(corner), _SURFACE)
    out["color"] = corner["color"][:, :3].mean(1)
    for kind, first, count in model.ranges:
        rows = slice(first // 3, (first + count) // 3)
        values = _MATERIALS.get(Kind(kind), _OTHER)
        out["base"][rows], out["share"][rows], out["specular"][rows], out["retro"][rows] = values
        out["film"][rows] = Kind(kind) in _WETTED
        if Kind(kind) not in (Kind.FACADE, Kind.LAMP):
            out["slot"][rows] = corner["slot"][rows]
    sign = corner["cls"] == BY_NAME["traffic sign"].id
    out["base"][sign], out["share"][sign], out["specular"][sign], out["retro"][sign] = _SIGN
    return out
