"""Parametric buses. Local frame as in `vehicles`; slot 1 paints the body, slot 2 the skirt.

While a bus is being built, x = 0 is its front end and everything else lies at negative x. Doors are on the right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import (
    Kind,
    Material,
    MeshBuilder,
    Model,
    box,
    capsule,
    rounded_box,
    tube,
)
from amodal_perception_ros.simulation.assets.vehicles import (
    BODY,
    DARK,
    GLASS,
    HEADLIGHT,
    INDICATOR,
    METAL,
    PLATE,
    SEAM,
    SECOND,
    TAILLIGHT,
    Shell,
    add_wheel,
    add_wheel_arch,
    finished,
)  # fmt: skip

DISPLAY = Material((0.9, 0.45, 0.05), 0.5, Kind.LAMP)

Level = tuple[float, float, float, str]
"""(z, how far the front lies back, how far the sides lie in, what the wall above this level is)."""


@dataclass(frozen=True)
class BusShape:
    """Body of a bus [m].

    Attributes:
        length: shortest and longest.
        width: overall width.
        levels: from the floor upwards; the kinds of wall are "skirt", "low" (with wheel openings and doors), "wall"
            (with doors), "screen" (glass in front only), "window" (glass with doors), "upper" (glass), "sign"
            (destination display in front) and "roof".
        front_axle: x of the front axle.
        overhang: from the rear axle to the rear end.
        wheel: wheel radius.
        doors: middles of the doors, as (negative) shares of the length from the front.
        pitch: length of a side window with its post.
        roof: what stands on it: "cooler", "pods", "poles", "open" or "".
        tag_axle: a third axle behind the driven one.
        cab_back: x where the passengers' body begins (behind a bonnet).
    """

    length: tuple[float, float]
    width: float
    levels: tuple[Level, ...]
    front_axle: float
    overhang: float
    wheel: float = 0.48
    doors: tuple[float, ...] = ()
    pitch: float = 1.45
    roof: str = ""
    tag_axle: bool = False
    cab_back: float = 0.0

    @property
    def sloping(self) -> bool:
        """Whether the windscreen stands back behind a short bonnet that is part of the body."""
        return self.levels[4][1] > 0.5


def _low_floor(height: float) -> tuple[Level, ...]:
    return ((0.26, 0.05, 0.02, "skirt"), (0.4, 0, 0, "low"), (1.06, 0, 0, "screen"), (1.2, 0.01, 0, "window"),
            (height - 0.72, 0.1, 0.02, "sign"), (height - 0.3, 0.16, 0.04, "roof"), (height - 0.08, 0.24, 0.1, "roof"),
            (height, 0.4, 0.3, "roof"))  # fmt: skip


_DOUBLE: tuple[Level, ...] = (
    (0.26, 0.05, 0.02, "skirt"), (0.4, 0, 0, "low"), (1.06, 0, 0, "screen"), (1.2, 0.0, 0, "window"),
    (2.1, 0.03, 0, "sign"), (2.55, 0.05, 0, "wall"), (2.75, 0.06, 0.01, "upper"), (3.75, 0.16, 0.05, "roof"),
    (4.1, 0.22, 0.08, "roof"), (4.25, 0.4, 0.22, "roof"),
)  # fmt: skip
_COACH: tuple[Level, ...] = (
    (0.28, 0.08, 0.02, "skirt"), (0.45, 0.02, 0, "low"), (1.08, 0, 0, "screen"), (1.62, 0.06, 0, "window"),
    (2.8, 0.42, 0.05, "roof"), (3.2, 0.62, 0.1, "roof"), (3.42, 0.9, 0.25, "roof"),
)  # fmt: skip
_MINIBUS: tuple[Level, ...] = (
    (0.28, 0.06, 0.02, "skirt"), (0.45, 0, 0, "low"), (0.92, 0.03, 0, "wall"), (1.12, 0.2, 0.0, "wall"),
    (1.24, 0.85, 0.0, "window"), (2.1, 1.42, 0.06, "roof"), (2.5, 1.62, 0.11, "roof"), (2.66, 2.0, 0.25, "roof"),
)  # fmt: skip
_SCHOOL: tuple[Level, ...] = (
    (0.5, 0, 0.02, "skirt"), (0.66, 0, 0, "low"), (1.14, 0, 0, "wall"), (1.62, 0.02, 0, "window"),
    (2.45, 0.06, 0.03, "roof"), (2.85, 0.1, 0.12, "roof"), (3.05, 0.25, 0.4, "roof"),
)  # fmt: skip

_SHAPES: dict[str, BusShape] = {
    "city": BusShape((11.4, 12.4), 2.54, _low_floor(3.02), -2.7, 3.3, doors=(-0.11, -0.5), roof="cooler"),
    "midi": BusShape((8.4, 9.4), 2.35, _low_floor(2.88), -2.1, 2.3, 0.42, doors=(-0.12, -0.5), pitch=1.2),
    "coach": BusShape((12.0, 13.4), 2.54, _COACH, -2.8, 3.6, 0.5, doors=(-0.08,), pitch=1.7, tag_axle=True),
    "double_decker": BusShape((10.2, 11.4), 2.52, _DOUBLE, -2.6, 2.8, doors=(-0.1, -0.46)),
    "open_top": BusShape((9.6, 10.8), 2.5, (*_DOUBLE[:7], (3.2, 0.1, 0.02, "roof")), -2.6, 2.6, doors=(-0.1,),
                         roof="open"),
    "minibus": BusShape((5.9, 7.0), 2.02, _MINIBUS, -1.05, 1.7, 0.35, doors=(-0.42,), pitch=1.25),
    "school": BusShape((8.6, 10.2), 2.42, _SCHOOL, -0.95, 2.7, 0.46, doors=(-0.22,), pitch=0.78, cab_back=-1.75),
    "trolley": BusShape((11.6, 12.4), 2.54, _low_floor(2.95), -2.7, 3.2, doors=(-0.11, -0.48), roof="poles"),
    "electric": BusShape((11.8, 12.6), 2.54, _low_floor(2.85), -2.75, 3.2, doors=(-0.11, -0.46, -0.72), pitch=2.3,
                         roof="pods"),
}  # fmt: skip

BUS_SHAPES: tuple[str, ...] = tuple(_SHAPES)


def build_bus(rng: np.random.Generator, shape: str) -> Model:
    """Return a bus of one of `BUS_SHAPES`; `rng` varies its length."""
    form, mesh = _SHAPES[shape], MeshBuilder()
    length = float(rng.uniform(*form.length))
    rear_axle = -length + form.overhang
    axles = (form.front_axle, rear_axle) + ((rear_axle - 1.35,) if form.tag_axle else ())
    _body(mesh, form, length, axles)
    _running_gear(mesh, form, axles)
    if form.cab_back:
        _bonnet(mesh, form)
    _front(mesh, form)
    _rear(mesh, form, length)
    _roof(mesh, form, length)
    return finished(mesh)


def _windows(form: BusShape, length: float) -> list[tuple[float, float]]:
    """Side windows (rear x, front x) between the rear corner and the driver's place."""
    low, high = -length + 0.35, form.cab_back - (1.75 if form.sloping else 0.35)
    count = max(3, round((high - low) / form.pitch))
    step = (high - low) / count
    return [(low + k * step + 0.04, low + (k + 1) * step - 0.04) for k in range(count)]


def _body(mesh: MeshBuilder, form: BusShape, length: float, axles: tuple[float, ...]) -> None:
    half, arch, kinds = form.width / 2, form.wheel * 1.28, [level[3] for level in form.levels]
    windows = _windows(form, length)
    doors = [(share * length - 0.6, share * length + 0.6) for share in form.doors]
    openings = [(x - arch, x + arch) for x in axles if x < form.cab_back]
    levels = [(z, -length + 0.25 * lean, form.cab_back - back, half - lean) for z, back, lean, _ in form.levels]
    stops = [x for pair in (*windows, *doors, *openings) for x in pair]
    shell = Shell(levels, [x for x in stops if -length + 0.16 < x < form.cab_back - 0.16], 0.14)
    for row, kind in enumerate(kinds[:-1]):
        _paint_row(shell, slice(row, row + 1), kind, windows, form.sloping)
    first_window = kinds.index("window")
    for low, high in doors:
        shell.paint(GLASS, slice(1, first_window + 1), low, high, side=-1)
    for low, high in openings:
        shell.paint(None, slice(0, 2), low, high)
    part, materials, which = shell.part()
    if form.roof == "open":
        keep = np.arange(len(which)) < len(which) - shell.ring
        part, which = (part[0], part[1][keep], part[2]), which[keep]
    mesh.add_mixed(part, materials, which)
    top = form.levels[first_window + 1][0]
    for low, high in doors:
        for x in (low, 0.5 * (low + high), high):
            mesh.add(box((x, -half, 0.5 * (0.4 + top)), (0.05, 0.02, top - 0.4)), DARK)
    for x in axles:
        if x < form.cab_back:
            add_wheel_arch(mesh, x, form.wheel * 1.17, form.wheel, half, form.levels[2][0], arch)


def _paint_row(shell: Shell, rows: slice, kind: str, windows: list[tuple[float, float]], sloping: bool) -> None:
    if kind in ("window", "upper"):
        shell.paint(DARK, rows, windows[0][0], windows[-1][1])
        for low, high in windows:
            shell.paint(GLASS, rows, low, high)
        if sloping:
            shell.paint(GLASS, rows, windows[-1][1] + 0.1, windows[-1][1] + 0.75)
        shell.paint_ends(GLASS, rows, front=True, corners=not sloping and kind == "window")
        shell.paint_ends(GLASS, rows, front=False)
    elif kind == "screen":
        shell.paint_ends(GLASS, rows)
    elif kind == "sign":
        shell.paint_ends(DARK, rows)
    elif kind == "skirt":
        shell.paint_all(SECOND, rows)


def _running_gear(mesh: MeshBuilder, form: BusShape, axles: tuple[float, ...]) -> None:
    half = form.width / 2
    for x in axles:
        inset = 0.24 if form.cab_back and x > form.cab_back else 0.0
        for side in (-1, 1):
            add_wheel(mesh, x, side * (half - 0.17 - inset), form.wheel, 0.3, side, spokes=0)
        mesh.add(box((x, 0, form.wheel), (0.16, form.width - 0.8, 0.16)), DARK)


def _bonnet(mesh: MeshBuilder, form: BusShape) -> None:
    """A bonnet in front of the body, with round mudguards over the front wheels."""
    back, half = form.cab_back + 0.05, form.width / 2 - 0.32
    levels = [(0.6, back, -0.08, half), (0.8, back, 0.0, half), (1.3, back, -0.02, half),
              (1.52, back, -0.2, half - 0.05), (1.62, back, -0.5, half - 0.25)]  # fmt: skip
    mesh.add_mixed(*Shell(levels, [], 0.2).part())
    mesh.add(box((0.0, 0, 1.05), (0.03, 1.1, 0.42)), DARK)
    mesh.add(box((0.08, 0, 0.62), (0.16, form.width - 0.25, 0.26)), DARK)
    for side in (-1, 1):
        x, z, radius = form.front_axle, form.wheel, form.wheel * 1.25
        y = side * (form.width / 2 - 0.4)
        angle = np.linspace(0, np.pi, 9)
        edge = np.stack([x + radius * np.cos(angle), np.zeros(9), z + radius * np.sin(angle)], 1)
        vertices = np.concatenate([edge + np.array([0, y - 0.2, 0]), edge + np.array([0, y + 0.2, 0])])
        k = np.arange(8)
        faces = np.concatenate([np.stack([k, k + 1, k + 9], 1), np.stack([k + 1, k + 10, k + 9], 1)])
        mesh.add((vertices, faces, vertices[:, :2].copy()), BODY)


def _front(mesh: MeshBuilder, form: BusShape) -> None:
    half = form.width / 2
    bonnet = bool(form.cab_back)
    lamp_y, lamp_z = (half - 0.55, 1.05) if bonnet else (half - 0.3, 0.72)
    for side in (-1, 1):
        mesh.add(box((-0.005, side * lamp_y, lamp_z), (0.05, 0.36 if not bonnet else 0.22, 0.2)), HEADLIGHT)
        mesh.add(box((-0.03, side * (lamp_y + 0.2), lamp_z), (0.05, 0.08, 0.16)), INDICATOR)
    mesh.add(box((0.165 if bonnet else 0.01, 0, 0.5 if not bonnet else 0.62), (0.02, 0.52, 0.12)), PLATE)
    if not bonnet:
        mesh.add(box((-0.01, 0, 0.36), (0.04, form.width - 0.5, 0.14)), DARK)
        mesh.add(box((-0.005, 0, 0.74), (0.03, 0.9, 0.1)), DARK)
    for z, back, _, kind in form.levels:
        if kind == "sign":
            mesh.add(box((-back + 0.0, 0, z + 0.22), (0.04, 1.5, 0.16)), DISPLAY)
    _mirrors(mesh, form)


def _mirrors(mesh: MeshBuilder, form: BusShape) -> None:
    half, row = form.width / 2, next(k for k, level in enumerate(form.levels) if level[3] == "window")
    (low, back, *_), (top, top_back, *_) = form.levels[row], form.levels[row + 1]
    x = form.cab_back - 0.5 * (back + top_back)
    for side in (-1, 1):
        if form.sloping:
            mesh.add(box((-1.05, side * (half + 0.12), low + 0.12), (0.08, 0.2, 0.3)), DARK)
            continue
        mesh.add(box((x + 0.22, side * (half + 0.1), top - 0.38), (0.08, 0.2, 0.42)), DARK)
        mesh.add(
            tube((x - 0.15, side * (half - 0.1), top + 0.12), (x + 0.22, side * (half + 0.06), top - 0.1), 0.03, 5),
            DARK,
        )
        mesh.add(box((x + 0.08, side * 0.35, 0.5 * (low + top) - 0.3), (0.02, 0.9, 0.02)), DARK)


def _rear(mesh: MeshBuilder, form: BusShape, length: float) -> None:
    half, low = form.width / 2, form.levels[1][0]
    mesh.add(box((-length, 0, low + 0.62), (0.02, form.width * 0.5, 0.3)), DARK)
    mesh.add(box((-length, 0, low + 0.28), (0.03, 0.52, 0.12)), PLATE)
    mesh.add(box((-length, 0, low), (0.08, form.width - 0.3, 0.16)), DARK)
    for side in (-1, 1):
        mesh.add(box((-length, side * (half - 0.22), low + 0.5), (0.04, 0.16, 0.45)), TAILLIGHT)
        mesh.add(box((-length, side * (half - 0.22), low + 0.82), (0.04, 0.16, 0.14)), INDICATOR)


def _roof(mesh: MeshBuilder, form: BusShape, length: float) -> None:
    top = form.levels[-1][0]
    if form.roof == "cooler":
        mesh.add(rounded_box((-length * 0.32, 0, top + 0.1), (2.3, 1.7, 0.26), 0.1), BODY)
        mesh.add(rounded_box((-length * 0.8, 0, top + 0.08), (1.4, 1.5, 0.22), 0.08), DARK)
    elif form.roof == "pods":
        mesh.add(rounded_box((-length * 0.5, 0, top + 0.2), (length * 0.86, 2.1, 0.46), 0.16), BODY)
        for x in np.linspace(-length * 0.85, -length * 0.15, 6):
            mesh.add(box((x, 0, top + 0.2), (0.04, 2.12, 0.4)), SEAM)
    elif form.roof == "poles":
        mesh.add(rounded_box((-length * 0.3, 0, top + 0.12), (2.6, 1.6, 0.3), 0.1), BODY)
        mesh.add(box((-length * 0.42, 0, top + 0.18), (1.0, 1.1, 0.3)), DARK)
        for side in (-1, 1):
            mesh.add(
                capsule(
                    (-length * 0.42, side * 0.3, top + 0.35), (-length + 0.1, side * 0.28, top + 0.75), 0.035, 0.025, 6
                ),
                DARK,
            )
    elif form.roof == "open":
        _open_deck(mesh, form, length)


def _open_deck(mesh: MeshBuilder, form: BusShape, length: float) -> None:
    """Upper deck without a roof: floor, rows of seats, a windscreen and a rail."""
    floor, top, half = 2.6, form.levels[-1][0], form.width / 2
    mesh.add(box((-length / 2, 0, floor - 0.05), (length - 0.15, form.width - 0.1, 0.05)), DARK)
    for x in np.arange(-length + 1.2, -1.2, 0.95):
        for side in (-1, 1):
            mesh.add(box((x, side * 0.66, floor + 0.42), (0.42, 0.9, 0.1)), SECOND)
            mesh.add(box((x - 0.24, side * 0.66, floor + 0.7), (0.08, 0.9, 0.6)), SECOND)
    mesh.add(box((-0.12, 0, top + 0.18), (0.03, form.width - 0.3, 0.4)), GLASS)
    for side in (-1, 1):
        mesh.add(
            tube((-length + 0.1, side * (half - 0.05), top + 0.12), (-0.2, side * (half - 0.05), top + 0.12), 0.02, 5),
            METAL,
        )
    mesh.add(tube((-length + 0.1, -half + 0.05, top + 0.12), (-length + 0.1, half - 0.05, top + 0.12), 0.02, 5), METAL)
