"""Eleven families of buildings; `BUILDING_FAMILIES` lists them with the sizes that suit them.

Nothing below 1.9 m leaves the ground size by more than 0.15 m; eaves, balconies and awnings above by at most 1.2 m. All
parts are of class building, but for the garden wall of a villa. Most windows are drawn by `Kind.FACADE` (lit at night).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.assets import building_parts as parts
from amodal_perception_ros.simulation.assets.building_parts import BRICK_COLORS, FACADE_COLORS, Body, any_of
from amodal_perception_ros.simulation.assets.materials import (
    BUILDING,
    CONCRETE,
    DARK_STEEL,
    GLASS,
    WALL,
    Site,
    metal,
    paint,
    tinted,
    wood,
)
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, MeshBuilder, quad

Size = tuple[float, float, float]
"""Width (along the street), depth and height of the eaves [m]."""


@dataclass(frozen=True)
class Family:
    """A family of buildings.

    Attributes:
        add: builds one of a size on a site.
        width, depth, height: lowest and highest suitable size [m]; height is that of the eaves.
    """

    add: Callable[[Site, np.random.Generator, Size], None]
    width: tuple[float, float]
    depth: tuple[float, float]
    height: tuple[float, float]


def add_building(
    mesh: MeshBuilder,
    rng: np.random.Generator,
    center: np.ndarray,
    size: tuple[float, float],
    yaw: float,
    z: float,
    height: float,
    family: str | None = None,
) -> None:
    """Add a building of ground size (width, depth) [m] whose front looks to local -y.

    Args:
        mesh: takes the parts.
        rng: draws all that is not given.
        size: width (along the street) and depth [m].
        center: (2,) middle of the ground plan in odom [m].
        yaw: heading of its width [rad].
        z: ground height [m].
        height: wished height of the eaves [m]; cut to what the family has.
        family: one of `BUILDING_FAMILIES`; None draws one that suits the size.

    Raises:
        ValueError: the family is unknown.
    """
    if family is None:
        fitting = [name for name, f in BUILDING_FAMILIES.items() if _fits(f, (*size, height))]
        family = fitting[int(rng.integers(len(fitting)))] if fitting else "tenement"
    if family not in BUILDING_FAMILIES:
        raise ValueError(f"no building family '{family}'; there are {', '.join(BUILDING_FAMILIES)}")
    chosen = BUILDING_FAMILIES[family]
    tall = float(np.clip(height, *chosen.height))
    chosen.add(Site(mesh, float(center[0]), float(center[1]), z, yaw), rng, (size[0], size[1], tall))


def _fits(family: Family, size: Size) -> bool:
    ranges = (family.width, family.depth, family.height)
    return all(low <= value <= high for value, (low, high) in zip(size, ranges, strict=True))


def _body(site: Site, size: Size, floor: float, inset: float = 0.0) -> Body:
    """The whole ground plan, less an inset, in storeys of about `floor` [m]."""
    width, depth, height = size
    floors = max(1, round(height / floor))
    a, b = width / 2 - inset, depth / 2 - inset
    return Body(site, -a, -b, a, b, 0.0, floors, max(height, 2.4) / floors)


def _tenement(site: Site, rng: np.random.Generator, size: Size) -> None:
    """A block of flats: shops below, cornices, balconies or bays, mansard, pitched or flat roof."""
    body, cell = _body(site, size, float(rng.uniform(2.9, 3.5))), float(rng.uniform(2.0, 3.1))
    shops = rng.random() < 0.6
    style = (
        int(rng.choice([parts.WIDE, parts.TALL])) if shops else int(rng.choice([0, 1, 2, 3], p=[0.5, 0.2, 0.2, 0.1]))
    )
    color = any_of(rng, BRICK_COLORS if style == parts.TALL else FACADE_COLORS)
    facade = tinted(color, 0.85, Kind.FACADE, style)
    blank = (1, 3) if rng.random() < 0.4 else ()
    parts.add_walls(body, facade, cell, blank, first=0 if shops else 1)
    trim = tinted(color * rng.uniform(0.7, 1.5) + 0.04)
    bands = [body.z0 + body.floor, body.top - 0.06] + [body.z0 + k * body.floor for k in range(2, body.floors)]
    parts.add_cornices(body, trim, tuple(bands[: int(rng.choice([1, 2, 2, 6]))]), 0.09)
    if shops:
        parts.add_shop_fronts(body, rng, cell)
    if rng.random() < 0.45:
        parts.add_balconies(body, rng)
    elif rng.random() < 0.35 and body.floors > 2:
        parts.add_bays(body, rng, facade, cell)
    parts.add_door(body, rng, parts.door_place(body, rng, cell, parts.WIDE if shops else style), canopy=not shops)
    kind = rng.random()
    if kind < 0.35:
        parts.add_mansard(body, rng, parts.roof_tiles(rng), rng.random() < 0.7)
        parts.add_chimneys(body, rng, int(rng.integers(1, 4)), body.top + 4.0)
    elif kind < 0.65:
        rise = size[1] * float(rng.uniform(0.25, 0.4))
        parts.add_pitched_roof(body, rise, parts.roof_tiles(rng), tinted(color))
        parts.add_chimneys(body, rng, int(rng.integers(1, 4)), body.top + rise + 0.8)
    else:
        parts.add_flat_roof(body, rng)


def _row_houses(site: Site, rng: np.random.Generator, size: Size) -> None:
    """Narrow houses of one kind side by side, each with its own colour and door, under roofs of one pitch."""
    count = min(6, max(1, round(size[0] / float(rng.uniform(4.5, 6.5)))))
    unit, floors = size[0] / count, max(1, round(size[2] / 2.9))
    style, cell = int(rng.choice([parts.NARROW, parts.WIDE, parts.TALL])), unit / int(rng.integers(1, 3))
    rise, door = size[1] * float(rng.uniform(0.3, 0.45)), float(rng.choice([-0.3, 0.3]))
    brick, bays, tiles = rng.random() < 0.5, rng.random() < 0.4, parts.roof_tiles(rng)
    common, step = any_of(rng, BRICK_COLORS if brick else FACADE_COLORS), float(rng.choice([0.0, 0.0, 0.4]))
    for k in range(count):
        x0, back = -size[0] / 2 + k * unit, step * (k % 2)
        body = Body(site, x0, -size[1] / 2 + back, x0 + unit, size[1] / 2, 0.0, floors, max(size[2], 2.6) / floors)
        color = common * rng.uniform(0.85, 1.15) if brick else any_of(rng, FACADE_COLORS)
        facade = tinted(color, 0.85, Kind.FACADE, style)
        parts.add_walls(body, facade, cell, blank=(1, 3))
        parts.add_pitched_roof(body, rise, tiles, facade, eaves=0.3)
        parts.add_door(body, rng, body.middle[0] + door * unit, canopy=rng.random() < 0.5)
        if bays and floors > 1:
            low = tinted(color * 0.8 + 0.1, 0.85, Kind.FACADE, parts.BAND)
            bay = Body(site, body.middle[0] - door * unit - 0.9, body.y0 - 0.14, body.middle[0] - door * unit + 0.9,
                       body.y0, 0.0, 1, body.floor)  # fmt: skip
            parts.add_walls(bay, low, 0.9)
            parts.add_cornices(bay, tiles, (bay.top,), 0.0)
        stack = Body(site, x0, body.y0, x0 + 1.8, body.y1, 0.0, floors, body.floor)
        parts.add_chimneys(stack, rng, 1, body.top + rise + 0.7)


def _detached(site: Site, rng: np.random.Generator, size: Size) -> None:
    """A family house with a gable or hipped roof, sometimes with a porch or a wing."""
    wide = size[0] * float(rng.uniform(0.75, 1.0))
    shift = (size[0] - wide) / 2 * float(rng.choice([-1, 1]))
    floors = max(1, round(size[2] / 2.8))
    a, b, floor = wide / 2 - 0.1, size[1] / 2 - 0.2, max(size[2], 2.6) / floors
    body = Body(site, shift - a, -b, shift + a, b, 0.0, floors, floor)
    _house(body, rng, hip=float(rng.choice([0.0, 0.0, 0.9])), across=rng.random() < 0.5)
    if size[0] - wide > 1.8:
        low, high = (-size[0] / 2, body.x0) if shift > 0 else (body.x1, size[0] / 2)
        wing = Body(site, low, body.y0 + 1.0, high, body.y1 - 1.0, 0.0, 1, 2.5)
        parts.add_walls(wing, tinted(any_of(rng, FACADE_COLORS), 0.85, Kind.FACADE), 2.5, blank=(0, 1, 3))
        parts.add_gate(wing, rng, 0.5 * (low + high), high - low - 0.4, 2.1)
        parts.add_flat_roof(wing, rng, 0)


def _house(body: Body, rng: np.random.Generator, hip: float, across: bool) -> None:
    style = int(rng.choice([parts.NARROW, parts.WIDE, parts.TALL], p=[0.5, 0.3, 0.2]))
    color = any_of(rng, BRICK_COLORS if style == parts.TALL else FACADE_COLORS)
    facade = tinted(color, 0.85, Kind.FACADE, style)
    cell = float(rng.uniform(2.4, 3.4))
    parts.add_walls(body, facade, cell)
    span = (body.x1 - body.x0) if across else (body.y1 - body.y0)
    rise = span / 2 * float(rng.uniform(0.5, 1.05))
    gable = wood(rng) if rng.random() < 0.3 else facade
    parts.add_pitched_roof(
        body, rise, parts.roof_tiles(rng), gable, across and not hip, hip, float(rng.uniform(0.3, 0.6))
    )
    parts.add_chimneys(body, rng, int(rng.integers(0, 2)) or 1, body.top + rise + 0.4)
    parts.add_door(body, rng, parts.door_place(body, rng, cell, style))
    if rng.random() < 0.5:
        body.site.boxes(tinted(color * 0.6), BUILDING,
                        ((*body.middle, 0.25), (body.x1 - body.x0 + 0.1, body.y1 - body.y0 + 0.1, 0.5)))  # fmt: skip


def _villa(site: Site, rng: np.random.Generator, size: Size) -> None:
    """A house with a hipped roof behind a garden wall with a gate."""
    width, depth, height = size
    garden = min(3.0, depth * 0.25)
    floors = max(1, round(height / 3.2))
    side = min(1.5, width * 0.12)
    body = Body(site, -width / 2 + side, -depth / 2 + garden, width / 2 - side, depth / 2, 0.0, floors, height / floors)
    _house(body, rng, hip=1.0, across=False)
    if rng.random() < 0.5 and floors > 1:
        parts.add_balconies(body, rng, 3)
    stone = tinted(any_of(rng, FACADE_COLORS), 0.9, Kind.BRICK if rng.random() < 0.5 else Kind.PLAIN)
    tall, gate, y = float(rng.uniform(0.9, 1.9)), float(rng.uniform(-0.25, 0.25)) * width, -depth / 2 + 0.15
    for x0, x1 in ((-width / 2, gate - 1.3), (gate + 1.3, width / 2)):
        site.boxes(stone, WALL, ((0.5 * (x0 + x1), y, tall / 2), (x1 - x0, 0.22, tall)))
        site.boxes(CONCRETE, WALL, ((0.5 * (x0 + x1), y, tall + 0.04), (x1 - x0, 0.3, 0.08)))
    site.boxes(stone, WALL, *(((gate + s * 1.4, y, tall / 2 + 0.15), (0.3, 0.3, tall + 0.3)) for s in (-1, 1)))


def _office(site: Site, rng: np.random.Generator, size: Size) -> None:
    """A modern block: bands of windows, a curtain wall of small panes or all glass; fins, a lobby, a canopy."""
    body, kind = _body(site, size, 3.5, 0.1), str(rng.choice(["bands", "curtain", "glass"], p=[0.4, 0.35, 0.25]))
    grey = rng.uniform(0.1, 0.65)
    color = np.clip(grey * rng.uniform(0.85, 1.15, 3), 0, 0.8) if rng.random() < 0.7 else any_of(rng, FACADE_COLORS)
    facade = tinted(color * (0.35 if kind == "curtain" else 1.0), 0.5, Kind.FACADE, parts.BAND)
    if kind == "curtain":
        parts.add_walls(body, facade, 1.5, rise=2.0)
    else:
        parts.add_walls(body, GLASS if kind == "glass" else facade, float(rng.uniform(2.5, 5.0)))
    parts.add_show_windows(body, facade, body.floor - 0.2, body.x0 + 0.3, body.x1 - 0.3)
    fin = tinted(np.clip(color * rng.uniform(0.4, 1.8), 0.03, 0.75))
    count = int(np.clip((body.x1 - body.x0) / float(rng.choice([1.5, 3.0, 6.0])), 2, 16))
    low = body.z0 + (body.floor if rng.random() < 0.6 else 0.0)
    fins = [((x, body.y0 - 0.06, 0.5 * (low + body.top)), (0.18, 0.16, body.top - low))
            for x in np.linspace(body.x0 + 0.1, body.x1 - 0.1, count + 1)]  # fmt: skip
    site.boxes(fin, BUILDING, *fins)
    if kind != "curtain":
        parts.add_cornices(body, fin, tuple(body.z0 + k * body.floor for k in range(1, min(body.floors, 9))), 0.04)
    site.boxes(fin, BUILDING, ((float(rng.uniform(-0.2, 0.2)) * size[0], body.y0 - 0.45, 3.0), (5.0, 1.0, 0.22)))
    parts.add_flat_roof(body, rng, 3, fin)


def _tower(site: Site, rng: np.random.Generator, size: Size) -> None:
    """A high-rise on a wider base."""
    width, depth, height = size
    base = _body(site, (width, depth, float(rng.uniform(4, 8))), 4.0)
    shop = tinted(any_of(rng, FACADE_COLORS), 0.7, Kind.FACADE, parts.WIDE)
    parts.add_walls(base, shop, 3.0, first=0)
    parts.add_flat_roof(base, rng, 0)
    parts.add_door(base, rng, float(rng.uniform(-0.3, 0.3)) * width)
    a, b = width / 2 * float(rng.uniform(0.7, 0.95)), depth / 2 * float(rng.uniform(0.8, 0.95))
    floors = max(2, round((height - base.top) / 3.1))
    shaft = Body(site, -a, -b, a, b, base.top, floors, 3.1)
    style = int(rng.choice([parts.NARROW, parts.BAND]))
    color = any_of(rng, FACADE_COLORS)
    parts.add_walls(shaft, tinted(color, 0.6, Kind.FACADE, style), float(rng.uniform(1.6, 3.4)))
    fin = tinted(color * rng.uniform(0.5, 1.6))
    stripes = np.linspace(-a, a, int(rng.integers(3, 7)))
    site.boxes(fin, BUILDING, *(((x, -b - 0.02, 0.5 * (shaft.z0 + shaft.top)), (0.5, 0.2, shaft.top - shaft.z0))
                                for x in stripes))  # fmt: skip
    if style == parts.NARROW:
        parts.add_balconies(shaft, rng, 14)
    parts.add_flat_roof(shaft, rng, 3)


def _hall(site: Site, rng: np.random.Generator, size: Size) -> None:
    """An industrial hall of ribbed metal with gates, a strip of windows and a low gable or saw-tooth roof."""
    body, skin = _body(site, size, size[2], 0.08), paint(rng, 0.6)
    pale = tinted(np.array(skin.color) * 0.5 + rng.uniform(0.1, 0.35), 0.6)
    parts.add_siding(body, pale)
    if body.top > 4.5:
        parts.add_panes(body, body.top - 1.5, 0.9, body.x0 + 0.5, body.x1 - 0.5)
    site.boxes(skin, BUILDING, ((0, body.y0 - 0.01, body.top - 0.25), (body.x1 - body.x0, 0.1, 0.5)))
    x = body.x0 + 2.6
    while x < body.x1 - 2.4:
        if rng.random() < 0.6:
            parts.add_gate(
                body, rng, x, float(rng.uniform(2.6, 3.8)), min(float(rng.uniform(2.8, 4.0)), body.top - 1.8)
            )
        elif rng.random() < 0.5:
            parts.add_door(body, rng, x, canopy=False)
        x += float(rng.uniform(4.6, 7.0))
    if rng.random() < 0.4:
        count = max(2, round(size[0] / 6))
        step = (body.x1 - body.x0) / count
        for k in range(count):
            tooth = Body(site, body.x0 + k * step, body.y0, body.x0 + (k + 1) * step, body.y1, body.top, 1, 0.05)
            _saw_tooth(tooth, pale, float(rng.uniform(1.3, 1.7)))
    else:
        parts.add_pitched_roof(body, size[1] * 0.12, tinted((0.3, 0.31, 0.33), 0.7, Kind.ROOF), pale)


def _saw_tooth(body: Body, skin: Material, rise: float) -> None:
    top = body.top + rise
    slope = [(body.x0, body.y0, body.z0), (body.x1, body.y0, top), (body.x1, body.y1, top), (body.x0, body.y1, body.z0)]
    body.site.add(quad(slope), tinted((0.25, 0.25, 0.27), 0.8, Kind.ROOF), BUILDING)
    pane = [(body.x1, body.y0, body.z0), (body.x1, body.y1, body.z0), (body.x1, body.y1, top), (body.x1, body.y0, top)]
    body.site.add(quad(pane), GLASS, BUILDING)
    for y in (body.y0, body.y1):
        end = np.array([(body.x0, y, body.z0), (body.x1, y, body.z0), (body.x1, y, top)])
        body.site.add((end, np.array([(0, 1, 2)]), np.zeros((3, 2))), skin, BUILDING)


def _supermarket(site: Site, rng: np.random.Generator, size: Size) -> None:
    """A low market with a glass front, a coloured band and a sign on the roof."""
    body = _body(site, size, size[2], 0.1)
    plaster = tinted(any_of(rng, FACADE_COLORS), 0.85, Kind.FACADE)
    parts.add_walls(body, plaster, 3.0, blank=(0, 1, 2, 3))
    x0, x1 = sorted(rng.uniform(-0.45, 0.45, 2) * size[0])
    if x1 - x0 < 0.5 * size[0]:
        x0, x1 = -0.42 * size[0], 0.3 * size[0]
    parts.add_show_windows(body, plaster, 3.2, x0, x1)
    posts = np.linspace(x0, x1, max(3, round((x1 - x0) / 2.2)))
    site.boxes(metal(rng), BUILDING, *(((x, body.y0 - 0.05, 1.6), (0.1, 0.1, 2.9)) for x in posts))
    band = paint(rng, 0.5)
    site.boxes(band, BUILDING, ((0, body.y0 - 0.3, body.top - 0.5), (size[0] - 0.2, 0.9, 0.8)))
    logo = tinted(np.array(paint(rng).color) * 0.4, 0.4, Kind.LAMP, 3)
    site.boxes(logo, BUILDING, ((0.5 * (x0 + x1), body.y0 - 0.78, body.top - 0.45), (4.0, 0.1, 1.3)))
    parts.add_flat_roof(body, rng, 3)


def _garage(site: Site, rng: np.random.Generator, size: Size) -> None:
    """A row of garages with gates, or an open carport on posts."""
    body = _body(site, size, size[2], 0.15)
    count = max(1, round(size[0] / 3.0))
    pitch = (body.x1 - body.x0) / count
    if rng.random() < 0.35:
        beam = wood(rng)
        posts = [((body.x0 + 0.1 + k * (pitch - 0.2 / count), y, body.top / 2), (0.14, 0.14, body.top))
                 for k in range(count + 1) for y in (body.y0 + 0.1, body.y1 - 0.1)]  # fmt: skip
        site.boxes(beam, BUILDING, *posts, ((*body.middle, body.top + 0.1), (size[0], size[1], 0.2)))
        site.boxes(beam, BUILDING, ((0, body.y1 - 0.05, 0.7), (body.x1 - body.x0, 0.06, 1.4)))
        return
    parts.add_walls(body, tinted(any_of(rng, FACADE_COLORS), 0.9, Kind.FACADE), 3.0, blank=(0, 1, 2, 3))
    for k in range(count):
        parts.add_gate(body, rng, body.x0 + (k + 0.5) * pitch, pitch - 0.5, 2.05)
    parts.add_flat_roof(body, rng, 0, DARK_STEEL if rng.random() < 0.5 else CONCRETE)


def _warehouse(site: Site, rng: np.random.Generator, size: Size) -> None:
    """An old brick warehouse or factory with pilasters, loading gates and a pitched or flat roof."""
    body, color = _body(site, size, float(rng.uniform(3.4, 4.2)), 0.12), any_of(rng, BRICK_COLORS)
    facade = tinted(color, 0.9, Kind.FACADE, parts.TALL)
    cell = float(rng.uniform(2.4, 3.6))
    parts.add_walls(body, facade, cell)
    brick = tinted(color * rng.uniform(0.75, 1.1), 0.9, Kind.BRICK)
    count = max(1, round((body.x1 - body.x0) / cell / 2))
    places = np.linspace(body.x0 + 0.2, body.x1 - 0.2, count + 1)
    site.boxes(brick, BUILDING, *(((x, body.y0 - 0.04, body.top / 2), (0.4, 0.18, body.top)) for x in places))
    parts.add_cornices(body, tinted(color * 0.7), (body.top - 0.1, body.top - 0.4), 0.12)
    for x in 0.5 * (places[:-1] + places[1:]):
        if rng.random() < 0.4:
            parts.add_gate(body, rng, float(x), 2.4, 2.7)
    parts.add_door(body, rng, float(places[0]) + 1.4, canopy=False)
    if rng.random() < 0.5:
        parts.add_pitched_roof(body, size[1] * 0.3, parts.roof_tiles(rng), brick, across=size[0] < size[1] * 1.4)
    else:
        parts.add_flat_roof(body, rng, 3, brick)


def _church(site: Site, rng: np.random.Generator, size: Size) -> None:
    """A nave with tall windows and a steep roof, and a tower with a spire at one end."""
    width, depth, height = size
    stone = any_of(rng, FACADE_COLORS if rng.random() < 0.5 else BRICK_COLORS)
    skin = tinted(stone, 0.9, Kind.FACADE, parts.TALL if rng.random() < 0.5 else parts.NARROW)
    gable, tiles, foot = tinted(stone, 0.9), parts.roof_tiles(rng), min(5.0, depth * 0.5, width * 0.35)
    side = float(rng.choice([-1, 1]))
    x0, x1 = (-width / 2 + foot, width / 2) if side < 0 else (-width / 2, width / 2 - foot)
    nave = Body(site, x0, -depth / 2 + 0.3, x1, depth / 2 - 0.3, 0.0, 1, height)
    left = -width / 2 if side < 0 else width / 2 - foot
    tower = Body(site, left, -foot / 2, left + foot, foot / 2, 0.0, 1, height * 2.1)
    for body in (nave, tower):
        parts.add_walls(body, skin, 3.0, blank=(0, 1, 2, 3))
    parts.add_pitched_roof(nave, depth * 0.55, tiles, gable)
    parts.add_pitched_roof(tower, foot * float(rng.uniform(1.0, 2.4)), tiles, gable, hip=1.0, eaves=0.2)
    site.boxes(DARK_STEEL, BUILDING, ((tower.middle[0], tower.y0 - 0.02, tower.top - 2.2), (1.2, 0.06, 2.2)))
    parts.add_door(tower, rng, tower.middle[0], canopy=False)
    panes = np.arange(x0 + 1.6, x1 - 1.2, 3.2)
    site.boxes(GLASS, BUILDING, *(((x, nave.y0 - 0.02, height * 0.52), (1.1, 0.08, height * 0.55)) for x in panes))
    buttresses = [((x + 1.6, nave.y0 - 0.15, height * 0.35), (0.5, 0.3, height * 0.7)) for x in panes[:-1]]
    if buttresses:
        site.boxes(gable, BUILDING, *buttresses)


BUILDING_FAMILIES: dict[str, Family] = {
    "tenement": Family(_tenement, (9, 30), (9, 16), (8, 24)),
    "row houses": Family(_row_houses, (9, 40), (7, 12), (4.5, 9)),
    "detached": Family(_detached, (7, 18), (7, 14), (2.6, 7)),
    "villa": Family(_villa, (11, 22), (11, 18), (5, 9)),
    "office": Family(_office, (12, 45), (10, 25), (8, 30)),
    "tower": Family(_tower, (14, 30), (12, 25), (24, 60)),
    "hall": Family(_hall, (14, 60), (12, 40), (4.5, 10)),
    "warehouse": Family(_warehouse, (12, 40), (10, 25), (7, 18)),
    "supermarket": Family(_supermarket, (18, 50), (12, 35), (4.5, 7)),
    "garage": Family(_garage, (3, 24), (5, 7), (2.4, 2.9)),
    "church": Family(_church, (14, 30), (9, 16), (6, 11)),
}
"""Every family of buildings by name."""
