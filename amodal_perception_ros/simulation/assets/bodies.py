"""The clothed body of a figure: lofted torso, limbs, head, hair and headwear, bound to the skeleton."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.belongings import add_belongings
from amodal_perception_ros.simulation.assets.figures import Figure, Measures
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, Part, box, cylinder, ellipsoid, moved, rings
from amodal_perception_ros.simulation.assets.skeleton import SIDES, Body, BodyBuilder, chain, hanging, rigid

TOP = Material((0.4, 0.4, 0.4), 0.95, Kind.CLOTH, slot=1)
BOTTOM = Material((0.2, 0.2, 0.3), 0.95, Kind.CLOTH, slot=2)
SKIN = Material((0.5, 0.32, 0.23), 0.7, Kind.CLOTH, slot=3)
HAIR = Material((0.05, 0.03, 0.02), 0.8, Kind.CLOTH, slot=4)
SHOE = Material((0.03, 0.028, 0.026), 0.7)
WHITE = Material((0.62, 0.61, 0.58), 0.9)
FACE = Material((0.05, 0.035, 0.03), 0.6)
LIPS = Material((0.3, 0.12, 0.1), 0.7)
VISOR = Material((0.01, 0.012, 0.015), 0.1)
REFLECTIVE = Material((0.65, 0.66, 0.62), 0.5)
HIGH_VISIBILITY = Material((0.75, 0.62, 0.02), 0.9)

BULK = {"tshirt": 1.0, "shirt": 1.03, "sweater": 1.08, "jacket": 1.14, "coat": 1.16, "suit": 1.06,
        "high_visibility": 1.12}  # fmt: skip
"""Width of the upper clothing against the bare torso."""

_HEMS = {"coat": 0.62, "jacket": 0.12, "sweater": 0.06, "high_visibility": 0.12, "suit": 0.17}
"""How far upper clothing reaches below the hips, as a share of the leg."""

_RING = 10

_MAN = ((-0.05, 0, 0.05, 0.076), (0.0, -0.004, 0.064, 0.095), (0.05, -0.002, 0.062, 0.093), (0.11, 0, 0.058, 0.086),
        (0.2, 0.002, 0.066, 0.1), (0.255, -0.002, 0.062, 0.107), (0.29, -0.006, 0.05, 0.102),
        (0.315, -0.01, 0.036, 0.06), (0.33, -0.01, 0.031, 0.034))  # fmt: skip
_WOMAN = ((-0.05, 0, 0.052, 0.08), (0.0, -0.006, 0.067, 0.1), (0.05, -0.002, 0.06, 0.09), (0.11, 0, 0.052, 0.073),
          (0.2, 0.008, 0.068, 0.086), (0.255, -0.002, 0.057, 0.092), (0.29, -0.006, 0.046, 0.09),
          (0.315, -0.01, 0.033, 0.05), (0.33, -0.01, 0.028, 0.03))  # fmt: skip
"""Torso of a body of 1 m: height above the hip joint of an adult, x offset, x radius, y radius."""

_HEAD = ((-0.32, -0.1, 0.25, 0.27), (-0.02, -0.06, 0.23, 0.24), (0.03, 0.07, 0.27, 0.22), (0.18, 0.04, 0.36, 0.29),
         (0.4, 0.02, 0.41, 0.33), (0.62, 0.0, 0.43, 0.35), (0.8, -0.02, 0.4, 0.33), (0.93, -0.03, 0.29, 0.24),
         (1.0, -0.03, 0.1, 0.09))  # fmt: skip
"""Neck and head of 1 m: height above the chin, x offset, x radius, y radius."""


def build_body(figure: Figure) -> Body:
    """Return the clothed person at rest, of at most 1500 triangles."""
    measures = Measures.of(figure)
    builder = BodyBuilder(measures.skeleton())
    _add_torso(builder, figure, measures)
    _add_hem(builder, figure, measures)
    for sign, side in zip((1, -1), SIDES):
        _add_leg(builder, figure, measures, side, sign * measures.hip_half)
        _add_foot(builder, figure, measures, side, sign * measures.hip_half)
        _add_arm(builder, figure, measures, side)
    _add_head(builder, figure, measures)
    _add_headwear(builder, figure, measures)
    add_belongings(builder, figure, measures)
    return builder.build()


def loft(levels: np.ndarray, segments: int = _RING, squareness: float = 1.0) -> Part:
    """Return the skin over horizontal ellipses given as (n, 5) z, x, y of the centre, x and y radius [m].

    Ring corner k lies at angle 2 pi k / segments from forwards to the left; `squareness` < 1 makes fuller sections.
    """
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    across = np.stack([np.sign(v) * np.abs(v) ** squareness for v in (c, s)])
    z, x, y, a, b = (levels[:, k, None] for k in range(5))
    return rings(np.stack([x + a * across[0], y + b * across[1], np.broadcast_to(z, (len(levels), segments))], -1))


def _rows_and_sectors(levels: int, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Return row and sector of every face of a `loft`; the caps get rows -1 and `levels`, in the order of `rings`."""
    row, sector = np.meshgrid(np.arange(levels - 1), np.arange(segments), indexing="ij")
    cap = np.arange(segments)
    rows = np.concatenate([np.repeat(row.ravel(), 2), np.full(segments, -1), np.full(segments, levels)])
    return rows, np.concatenate([np.repeat(sector.ravel(), 2), cap, cap])


def _add_torso(builder: BodyBuilder, figure: Figure, m: Measures) -> None:
    h, scale = m.height, (m.shoulder - m.hip) / (0.293 * m.height)
    shape = np.array(_WOMAN if figure.woman else _MAN)
    if m.girth > 1.05 and not figure.woman:
        shape[2:4, 1:3] += (m.girth - 1.05) * np.array([0.03, 0.05])
    wide = np.full(len(shape), BULK[figure.top] * m.girth)
    wide[-3:] = (1.0 + (BULK[figure.top] - 1) * 0.6) * np.sqrt(m.girth)
    wide[:2] = m.girth * (1.02 if figure.top != "coat" else 1.05)
    levels = np.stack([m.hip + shape[:, 0] * h * scale, shape[:, 1] * h, 0 * wide, shape[:, 2] * h * wide,
                       shape[:, 3] * h * wide], 1)  # fmt: skip
    part = loft(levels, squareness=0.85)
    materials, which = _torso_look(figure, *_rows_and_sectors(len(levels), _RING))
    skin = chain(("head", "chest", "pelvis"), (m.chin - 0.02 * h, m.hip + 0.1 * h), 0.05 * h)
    builder.add_mixed(part, materials, which, skin)


def _torso_look(figure: Figure, rows: np.ndarray, sectors: np.ndarray) -> tuple[list[Material], np.ndarray]:
    """Return materials and their numbers per face: hem, stripes, blocks, open jackets, vests."""
    materials = [TOP, BOTTOM, WHITE, HIGH_VISIBILITY, REFLECTIVE, SKIN]
    which = np.zeros(len(rows), np.int64)
    which[rows < 1] = 0 if figure.bottom == "dress" else 1
    front = (sectors == 0) | (sectors == _RING - 1)
    if figure.top in ("suit", "jacket", "coat"):
        which[front & (rows >= (4 if figure.top == "suit" else 3))] = 2 if figure.top == "suit" else 1
    elif figure.top == "high_visibility":
        which[rows >= 1] = 3
        which[(rows == 3) | ((rows > 3) & np.isin(sectors, (1, _RING - 2)))] = 4
    elif figure.pattern == "stripes":
        which[(rows >= 1) & (rows % 2 == 1)] = 2
    elif figure.pattern == "blocks":
        which[(rows >= 4) & (rows < 8)] = 2 if figure.top == "tshirt" else 1
    which[rows >= 7] = 5 if figure.top in ("tshirt", "shirt") or figure.bottom == "dress" else which[rows >= 7]
    return materials, which


def _add_hem(builder: BodyBuilder, figure: Figure, m: Measures) -> None:
    """Skirts, dresses, coats, and the lower edge of jackets and shirts worn outside."""
    leg, layers = m.hip - m.ankle, []
    if figure.bottom in ("skirt", "dress"):
        length = 0.4 + 0.4 * ((m.height * 1000) % 1.0)
        layers.append((length, 1.04, TOP if figure.bottom == "dress" else BOTTOM, 0.3))
    if figure.top in _HEMS:
        material = HIGH_VISIBILITY if figure.top == "high_visibility" else TOP
        layers.append((_HEMS[figure.top], BULK[figure.top] * 1.02, material, 0.25 if figure.top == "coat" else 0.05))
    for length, bulk, material, flare in layers:
        low = m.hip - length * leg
        _add_skirt(builder, m, low, m.girth * bulk, flare, material)


def _add_skirt(builder: BodyBuilder, m: Measures, low: float, wide: float, flare: float, material: Material) -> None:
    """A tube around the hips from the waist down to `low` [m], there wider by the share `flare`."""
    h, hip = m.height, max(low, m.hip - 0.05 * m.height)
    middle = [(0.5 * (low + hip), 0.074 * (1 + flare / 2), 0.11 * (1 + flare / 2))] if hip - low > 0.1 * h else []
    shape = np.array([(low, 0.074 * (1 + flare), 0.11 * (1 + flare)), *middle, (hip, 0.074, 0.11),
                      (m.hip + 0.04 * h, 0.068, 0.1), (m.hip + 0.09 * h, 0.0615, 0.0915)])  # fmt: skip
    shape = shape[np.concatenate([[True], np.diff(shape[:, 0]) > 1e-6])]
    zero = np.zeros(len(shape))
    levels = np.stack([shape[:, 0], zero - 0.003 * h, zero, shape[:, 1] * h * wide, shape[:, 2] * h * wide], 1)
    binding = hanging(m.hip + 0.02 * h, min(low, m.hip - 0.3 * (m.hip - m.ankle)), 0.09 * h)
    builder.add(loft(levels, 10, 0.85), material, binding)


def _add_leg(builder: BodyBuilder, figure: Figure, m: Measures, side: str, y: float) -> None:
    h, wide = m.height, np.sqrt(m.girth)
    bare, loose = figure.bottom in ("skirt", "dress", "shorts"), figure.bottom == "trousers" and not figure.woman
    shin, thigh = m.knee - m.ankle, m.hip - m.knee
    z = [m.ankle - 0.01 * h, m.ankle + 0.12 * shin, m.ankle + 0.68 * shin, m.knee, m.knee + 0.14 * thigh,
         m.knee + 0.55 * thigh, m.hip - 0.04 * thigh]  # fmt: skip
    radius = np.array([0.021, 0.022, 0.034, 0.033, 0.038, 0.048, 0.053]) * h * wide
    if not bare:
        radius = np.maximum(radius * 1.08, (0.036 if loose else 0.026) * h)
    back = np.array([0.0, -0.002, -0.01, 0.002, 0.0, 0.0, 0.0]) * h
    which = np.zeros(len(z) - 1, np.int64)
    if figure.bottom == "shorts":
        radius[4:] *= 1.15
    which[: {"shorts": 4, "skirt": 6, "dress": 6}.get(figure.bottom, 0)] = 1
    levels = np.stack([np.array(z), back, np.full(len(z), y), radius, radius * 0.93], 1)
    rows, _ = _rows_and_sectors(len(z), 8)
    look = which[np.clip(rows, 0, len(which) - 1)]
    binding = chain((f"thigh_{side}", f"shin_{side}"), (m.knee,), 0.03 * h)
    builder.add_mixed(loft(levels, 8), [BOTTOM, SKIN], look, binding)


def _add_foot(builder: BodyBuilder, figure: Figure, m: Measures, side: str, y: float) -> None:
    """A shoe lofted from heel to toe."""
    h, angle = m.height, np.linspace(0, 2 * np.pi, 7, endpoint=False)
    stations = [(-0.042, 0.018, 0.018, 0.02), (-0.03, 0.026, 0.026, 0.03), (0.015, 0.027, 0.024, 0.026),
                (0.07, 0.03, 0.014, 0.016), (0.098, 0.024, 0.011, 0.012), (0.108, 0.01, 0.008, 0.008)]  # fmt: skip
    sections = []
    for x, half, middle, up in stations:
        rise = np.maximum(middle * h + up * h * np.sin(angle), 0.0)
        sections.append(np.stack([np.full(7, x * h), y + half * h * np.cos(angle), rise], -1))
    shoe = Material((0.6, 0.6, 0.58), 0.8) if figure.phone and figure.age != "elderly" else SHOE
    builder.add(rings(np.stack(sections)), shoe, rigid(f"foot_{side}"))


def _add_arm(builder: BodyBuilder, figure: Figure, m: Measures, side: str) -> None:
    h, joints = m.height, builder.skeleton.joints
    shoulder, elbow, wrist = (joints[f"{bone}_{side}"] for bone in ("upper", "fore", "carried"))
    wrist = elbow + (wrist - elbow) * (m.forearm / (m.forearm + 0.045 * h))
    along = np.array([-0.07, -0.03, 0.1, 0.6, 1.0, 1.35, 1.98])
    center = np.where(along[:, None] <= 1, shoulder + along[:, None] * (elbow - shoulder),
                      elbow + (along[:, None] - 1) * (wrist - elbow))  # fmt: skip
    sleeve = BULK[figure.top] if figure.bottom != "dress" else 1.0
    radius = np.array([0.012, 0.026, 0.033, 0.03, 0.026, 0.026, 0.018]) * h * np.sqrt(m.girth) * sleeve
    if figure.top in ("jacket", "coat", "suit"):
        radius[-1] = 0.024 * h
    center[0] += (0.0, -np.sign(shoulder[1]) * 0.01 * h, 0.0)
    levels = np.column_stack([center[:, 2], center[:, 0], center[:, 1], radius, radius])[::-1]
    rows, _ = _rows_and_sectors(len(levels), 6)
    bare = {"tshirt": 3, "high_visibility": 0}.get(figure.top, 3 if figure.bottom == "dress" else 0)
    look = np.where((rows >= 0) & (rows < bare), 1, 0)
    binding = chain((f"upper_{side}", f"fore_{side}"), (float(elbow[2]),), 0.025 * h)
    builder.add_mixed(loft(levels, 6), [TOP, SKIN], look, binding)
    hand = ellipsoid(wrist + np.array([0.004 * h, 0, -0.035 * h]), (0.022 * h, 0.014 * h, 0.045 * h), 5, 5)
    builder.add(hand, SKIN, rigid(f"fore_{side}"))


def head_part(m: Measures, scale: float, lift: float = 0.0) -> Part:
    """Return neck and head as a loft, widened by `scale`, everything above the ears lifted by `lift` heads."""
    shape = np.array(_HEAD)
    z = m.chin + m.head * (shape[:, 0] + np.where(shape[:, 0] > 0.7, lift, 0))
    levels = np.column_stack([z, m.head * shape[:, 1] - 0.008 * m.height, 0 * z, m.head * scale * shape[:, 2],
                              m.head * scale * shape[:, 3]])  # fmt: skip
    return loft(levels)


def _add_head(builder: BodyBuilder, figure: Figure, m: Measures) -> None:
    binding, d = rigid("head"), m.head
    neck = chain(("head", "chest"), (m.chin - 0.1 * d,), 0.12 * d)
    builder.add(head_part(m, 1.0), SKIN, neck)
    x0 = -0.008 * m.height
    nose = np.array([x0 + 0.44 * d, 0, m.chin + 0.42 * d])
    builder.add(ellipsoid(nose, (0.07 * d, 0.05 * d, 0.1 * d), 4, 4), SKIN, binding)
    for sign in (1, -1):
        builder.add(
            box((x0 + 0.38 * d, sign * 0.14 * d, m.chin + 0.53 * d), (0.05 * d, 0.1 * d, 0.045 * d)), FACE, binding
        )
    builder.add(box((x0 + 0.39 * d, 0, m.chin + 0.2 * d), (0.04 * d, 0.16 * d, 0.03 * d)), LIPS, binding)
    if figure.hair == "bald" or figure.headwear in ("full_helmet", "headscarf", "hood"):
        return
    _add_shell(builder, m, 1.09, 0.05, HAIR, low_back=1 if figure.hair == "long" else 3, low_front=6)
    if figure.hair == "bun":
        builder.add(
            ellipsoid((x0 - 0.45 * d, 0, m.chin + 0.8 * d), (0.17 * d, 0.17 * d, 0.16 * d), 6, 5), HAIR, binding
        )
    if figure.hair == "long":
        levels = np.array([(m.chin + z * d, x0 + x * d, 0, a * d, b * d) for z, x, a, b in
                           ((-0.42, -0.36, 0.1, 0.22), (0.0, -0.3, 0.16, 0.33), (0.5, -0.2, 0.25, 0.37))])  # fmt: skip
        builder.add(loft(levels, 8), HAIR, binding)


def _add_shell(
    builder: BodyBuilder, m: Measures, scale: float, lift: float, material: Material, low_back: int, low_front: int
) -> None:
    """A layer over the head above row `low_back` of `_HEAD`, in front of the ears above row `low_front`."""
    vertices, faces, uv = head_part(m, scale, lift)
    rows, sectors = _rows_and_sectors(len(_HEAD), _RING)
    front = np.cos((sectors + 0.5) * 2 * np.pi / _RING) > 0.2
    keep = (rows >= np.where(front, low_front, low_back)) & (rows <= len(_HEAD))
    used, index = np.unique(faces[keep], return_inverse=True)
    builder.add((vertices[used], index.reshape(-1, 3), uv[used]), material, rigid("head"))


def _add_headwear(builder: BodyBuilder, figure: Figure, m: Measures) -> None:
    d, x0, name, binding = m.head, -0.008 * m.height, figure.headwear, rigid("head")
    cloth = Material(figure.tint, 0.9, Kind.PLAIN)
    if name == "cap":
        _add_shell(builder, m, 1.13, 0.08, cloth, low_back=5, low_front=6)
        builder.add(
            ellipsoid((x0 + 0.5 * d, 0, m.chin + 0.83 * d), (0.28 * d, 0.3 * d, 0.035 * d), 8, 4), cloth, binding
        )
    elif name == "beanie":
        _add_shell(builder, m, 1.15, 0.12, cloth, low_back=4, low_front=5)
    elif name == "hat":
        _add_shell(builder, m, 1.13, 0.2, cloth, low_back=5, low_front=5)
        brim = moved(cylinder(0.68 * d, 0.03 * d, 14), (x0, 0, m.chin + 0.68 * d))
        builder.add(brim, cloth, binding)
    elif name in ("hood", "headscarf"):
        _add_shell(builder, m, 1.2, 0.1, TOP if name == "hood" else cloth, low_back=0, low_front=6)
    elif name == "helmet":
        _add_shell(builder, m, 1.24, 0.16, cloth, low_back=5, low_front=6)
    elif name == "full_helmet":
        _add_shell(builder, m, 1.36, 0.14, Material(figure.tint, 0.25), low_back=1, low_front=1)
        visor = ellipsoid((x0 + 0.3 * d, 0, m.chin + 0.5 * d), (0.34 * d, 0.42 * d, 0.2 * d), 10, 5)
        builder.add(visor, VISOR, binding)
