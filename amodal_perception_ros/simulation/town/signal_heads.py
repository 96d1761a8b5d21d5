"""Traffic lights: masts and housings that stay, and lenses that show a signal's state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, MeshBuilder, Model, Part
from amodal_perception_ros.simulation.assets.poles import SIGNAL_STYLES, add_signal_mast
from amodal_perception_ros.simulation.town.builder import TownBuilder
from amodal_perception_ros.simulation.town.ground import SIDEWALK_HEIGHT
from amodal_perception_ros.simulation.town.roads import Road
from amodal_perception_ros.simulation.town.routes import ACROSS_MAIN, ACROSS_SIDE, MAIN, SIDE

LIGHT = BY_NAME["traffic light"].id
HEAD_HEIGHT = 3.2
_COLORS = {"red": (0.9, 0.03, 0.03), "yellow": (0.8, 0.4, 0.02), "green": (0.02, 0.8, 0.25)}


@dataclass(frozen=True, eq=False)
class SignalHead:
    """The lenses of one traffic light. They are stuff: every vertex carries the class traffic light.

    Attributes:
        models: by the state of `Signal.state` ("green", "yellow", "red").
        matrix: (4, 4) odom_from_model.
        signal: index into `Ways.signals`.
    """

    models: dict[str, Model]
    matrix: np.ndarray
    signal: int


def build_signal_heads(builder: TownBuilder) -> list[SignalHead]:
    """Put a light for vehicles at every approach and lights for people at both ends of its crossing."""
    layout = builder.layout
    if not layout.signalled:
        return []
    style = int(builder.rng.integers(SIGNAL_STYLES))
    vehicles, people = _lenses(("red", "yellow", "green"), 0.1), _lenses(("red", "green"), 0.09)
    out = []
    for arm, road in enumerate(layout.roads):
        stop, crossing = layout.stop_at(arm), layout.crossing_at(arm)
        assert stop is not None
        assert crossing is not None
        group, across = (MAIN, ACROSS_MAIN) if arm < 2 else (SIDE, ACROSS_SIDE)
        outward = float(road.heading(stop))
        out.append(_mast(builder, road, stop - 0.4, 1, outward, vehicles, group, 3, style))
        if road.lanes > 1:
            out.append(_mast(builder, road, stop - 0.4, -1, outward, vehicles, group, 3, style))
        for side in (-1, 1):
            out.append(_mast(builder, road, crossing - 1.9, side, outward - side * np.pi / 2, people, across, 2, style))
    return [head for head in out if head is not None]


def _mast(builder: TownBuilder, road: Road, s: float, side: int, facing: float, models: dict[str, Model], signal: int,
          lenses: int, style: int) -> SignalHead | None:  # fmt: skip
    """A mast beside the kerb whose light looks to heading `facing`; None where no room is left."""
    for back, out in ((0.0, 0.35), (0.0, 0.6), (0.6, 0.35), (0.6, 0.6), (1.2, 0.35), (0.0, 1.6), (0.6, 2.2)):
        x, y = (float(v) for v in road.point(s + back, side * (road.curb(side, s) + out)))
        if builder.put_pole(np.array([x, y])):
            break
    else:
        return None
    height, z = HEAD_HEIGHT if lenses == 3 else 2.4, SIDEWALK_HEIGHT
    add_signal_mast(builder.tile(x, y), x, y, z, facing, height, lenses, style)
    c, d = np.cos(facing), np.sin(facing)
    matrix = np.array([[c, -d, 0, x], [d, c, 0, y], [0, 0, 1, z + height], [0, 0, 0, 1.0]])
    return SignalHead(models, matrix, signal)


def _lenses(colors: tuple[str, ...], radius: float) -> dict[str, Model]:
    """Models of the lenses, one above the other, by state; "yellow" of a light for people is its red."""
    out = {}
    for state in _COLORS:
        mesh, lit = MeshBuilder(), state if state in colors else "red"
        for k, name in enumerate(colors):
            color = _COLORS[name]
            dark = Material((0.06 * color[0], 0.06 * color[1], 0.06 * color[2]), 0.3)
            z = 0.31 * ((len(colors) - 1) / 2 - k)
            mesh.add(_disc((0.24, 0.0, z), radius), Material(color, 0.3, Kind.LAMP) if name == lit else dark, LIGHT)
        out[state] = mesh.bake()
    return out


def _disc(center: tuple[float, float, float], radius: float, sides: int = 12) -> Part:
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rim = np.stack([np.zeros(sides), radius * np.cos(angle), radius * np.sin(angle)], 1)
    bulge = np.array([[0.03, 0.0, 0.0]])
    index = np.arange(sides)
    faces = np.stack([np.full(sides, sides), index, (index + 1) % sides], 1)
    return np.concatenate([rim, bulge]) + np.array(center), faces, np.zeros((sides + 1, 2))
