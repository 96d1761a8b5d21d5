"""Every vehicle shape: real sizes, on the ground, clean geometry, its own outline, where its rider sits."""

from functools import cache
from itertools import combinations

import cv2
import numpy as np
import pytest
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from amodal_perception_ros.simulation.assets.bikes import BIKE_MOUNTS, BIKE_SHAPES, build_bike
from amodal_perception_ros.simulation.assets.buses import BUS_SHAPES, build_bus
from amodal_perception_ros.simulation.assets.cars import CAR_SHAPES, build_car
from amodal_perception_ros.simulation.assets.liveries import BRIGHTEST, PAINTS, draw_livery
from amodal_perception_ros.simulation.assets.meshes import Kind, MeshBuilder, Model
from amodal_perception_ros.simulation.assets.motorcycles import MOTORCYCLE_MOUNTS, MOTORCYCLE_SHAPES, build_motorcycle
from amodal_perception_ros.simulation.assets.trucks import TRUCK_SHAPES, build_truck
from amodal_perception_ros.simulation.assets.vehicles import BODY, GLASS, TYRE, Shell, add_wheel, extruded, hull
from amodal_perception_ros.simulation.distributions import Distributions

FAMILIES = {
    "car": (CAR_SHAPES, build_car),
    "truck": (TRUCK_SHAPES, build_truck),
    "bus": (BUS_SHAPES, build_bus),
    "bike": (BIKE_SHAPES, build_bike),
    "motorcycle": (MOTORCYCLE_SHAPES, build_motorcycle),
}
EVERY = [(family, shape) for family, (shapes, _) in FAMILIES.items() for shape in shapes]
FOUR_WHEELS = [(family, shape) for family, shape in EVERY if family in ("car", "truck", "bus")]
TWO_WHEELS = [(family, shape) for family, shape in EVERY if family in ("bike", "motorcycle")]

# Length, width over the mirrors and height [m] of real vehicles: from a city car (3.2 m) to a long van (6 m); from a
# light lorry to an articulated one (EU limits 16.5 m, 2.55 m without mirrors, 4 m; loaded car carriers reach 4.3 m);
# from a minibus to a 13.5 m coach and a 4.4 m double-decker; from a child's bicycle (16") to a 2.7 m cargo bicycle.
SIZES = {
    "car": ((3.1, 6.0), (1.7, 2.5), (1.15, 2.7)),
    "truck": ((4.8, 16.5), (2.1, 3.0), (2.0, 4.35)),
    "bus": ((5.8, 13.6), (2.2, 3.1), (2.4, 4.45)),
    "bike": ((1.1, 2.7), (0.4, 0.8), (0.7, 1.5)),
    "motorcycle": ((1.7, 2.55), (0.65, 1.05), (1.05, 1.6)),
}


@cache
def built(family: str, shape: str, seed: int = 5) -> Model:
    return FAMILIES[family][1](np.random.default_rng(seed), shape)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_at_least_eight_shapes(family: str) -> None:
    assert len(set(FAMILIES[family][0])) >= 8


@pytest.mark.parametrize(("family", "shape"), EVERY)
def test_triangles_are_clean_and_within_the_budget(family: str, shape: str) -> None:
    model = built(family, shape)
    corners = model.triangles.astype(np.float64)
    assert np.isfinite(corners).all()
    doubled = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    assert doubled.min() > 1e-9
    assert np.allclose(np.linalg.norm(model.vertices["normal"], axis=1), 1, atol=1e-3)
    assert 300 < len(corners) <= 4000


@pytest.mark.parametrize(("family", "shape"), EVERY)
@pytest.mark.parametrize("seed", [5, 6])
def test_sizes_are_real(family: str, shape: str, seed: int) -> None:
    model = built(family, shape, seed)
    for extent, (least, most) in zip(model.high - model.low, SIZES[family]):
        assert least <= extent <= most


@pytest.mark.parametrize(("family", "shape"), EVERY)
def test_stands_on_the_ground_with_its_origin_under_the_middle(family: str, shape: str) -> None:
    model = built(family, shape)
    assert abs(model.low[2]) < 0.01
    assert abs(model.low[1] + model.high[1]) < 0.02
    assert abs(model.low[0] + model.high[0]) / 2 < (0.005 if (family, shape) in FOUR_WHEELS else 0.12)


@pytest.mark.parametrize(("family", "shape"), FOUR_WHEELS)
def test_wheels_touch_the_ground_at_all_four_corners(family: str, shape: str) -> None:
    model = built(family, shape)
    contact = model.vertices["position"][_is_tyre(model) & (model.vertices["position"][:, 2] < 0.005)]
    length = model.high[0] - model.low[0]
    for x_sign in (-1, 1):
        for y_sign in (-1, 1):
            corner = contact[(contact[:, 0] * x_sign > 0.1 * length) & (contact[:, 1] * y_sign > 0.4)]
            assert len(corner)


@pytest.mark.parametrize(("family", "shape"), TWO_WHEELS)
def test_both_wheels_touch_the_ground_in_the_middle_plane(family: str, shape: str) -> None:
    model = built(family, shape)
    low = model.vertices["position"][_is_tyre(model) & (model.vertices["position"][:, 2] < 0.003)]
    middle = low[np.abs(low[:, 1]) < 0.01]
    assert middle[:, 0].min() < -0.2
    assert middle[:, 0].max() > 0.2


def _is_tyre(model: Model) -> np.ndarray:
    return np.isclose(model.vertices["color"][:, :3], TYRE.color, atol=1e-6).all(1)


@pytest.mark.parametrize(("family", "shape"), FOUR_WHEELS)
def test_has_glass_and_lamps_in_front_and_behind(family: str, shape: str) -> None:
    model = built(family, shape)
    kinds = {kind for kind, _, _ in model.ranges}
    assert {int(Kind.GLASS), int(Kind.LAMP), int(Kind.PAINT)} <= kinds
    lamps = next(model.vertices[first : first + count] for kind, first, count in model.ranges if kind == Kind.LAMP)
    for slot, sign in ((1, 1), (2, -1)):
        places = lamps["position"][lamps["slot"] == slot]
        assert (places[:, 0] * sign > 0).all()
        assert places[:, 1].min() < -0.3 < 0.3 < places[:, 1].max()


def _outline(model: Model) -> np.ndarray:
    """Side view at 4 cm per pixel, the origin in the lower middle."""
    picture = np.zeros((120, 480), np.uint8)
    points = np.round(model.triangles[..., ::2] / 0.04 * [1, -1] + [240, 118]).astype(np.int32)
    for triangle in points:
        cv2.fillConvexPoly(picture, triangle, 1)
    return picture.astype(bool)


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_of_a_family_have_different_outlines(family: str) -> None:
    outlines = {shape: _outline(built(family, shape)) for shape in FAMILIES[family][0]}
    for a, b in combinations(outlines, 2):
        overlap = (outlines[a] & outlines[b]).sum() / (outlines[a] | outlines[b]).sum()
        assert overlap < 0.96, (a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_generator_decides_everything(family: str) -> None:
    shapes, build = FAMILIES[family]
    for shape in shapes[:3]:
        first, second = (build(np.random.default_rng(9), shape) for _ in range(2))
        assert first.vertices.tobytes() == second.vertices.tobytes()
    others = [build(np.random.default_rng(seed), shapes[0]).vertices.tobytes() for seed in range(4)]
    assert len(set(others)) > 1


@pytest.mark.parametrize(("family", "shape"), TWO_WHEELS)
def test_riders_find_saddle_bars_and_pedals(family: str, shape: str) -> None:
    model = built(family, shape)
    mount = {**BIKE_MOUNTS, **MOTORCYCLE_MOUNTS}[shape]
    points = model.vertices["position"]

    def nearest(point: tuple[float, float, float]) -> float:
        return float(np.linalg.norm(points - np.array(point), axis=1).min())

    assert (
        abs(_surface_below(model, (mount.saddle[0], mount.saddle[1], mount.saddle[2] + 0.15)) - mount.saddle[2]) < 0.04
    )
    for side in (-1, 1):
        assert nearest((mount.grip[0], side * mount.grip[1], mount.grip[2])) < 0.04
        pedals = points[np.abs(points[:, 1] - side * mount.pedal[1]) < 0.06]
        radius = np.hypot(pedals[:, 0] - mount.pedal[0], pedals[:, 2] - mount.pedal[2])
        assert np.abs(radius - mount.crank).min() < 0.04
    assert mount.child == (shape == "child")


def _surface_below(model: Model, point: tuple[float, float, float]) -> float:
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(model.triangles))
    down = np.array([[0, 0, -1]], np.float32)
    return point[2] - float(scene.run(np.array([point], np.float32), down, query="DISTANCE")[0])


def _volume(part: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    corners = part[0][part[1]]
    return float(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)


def test_primitives_enclose_their_volume_with_outward_faces() -> None:
    for profile in ([(0, 0), (2, 0), (2, 1), (0, 1)], [(0, 1), (2, 1), (2, 0), (0, 0)]):
        assert _volume(extruded(profile, 0.5)) == pytest.approx(2 * 1 * 1)
        assert _volume(extruded(profile, 0.5, 7.0)) == pytest.approx(2)
    # An elliptic cylinder with half axes 1 and 0.5 and length 3; a 48-gon is 0.3 % smaller.
    tube = [(0.0, 0.0, 1.0, 1.0), (3.0, 0.0, 1.0, 1.0)]
    assert _volume(hull(tube, 48, 2.0)) == pytest.approx(np.pi * 1 * 0.5 * 3, rel=0.005)
    # 4 x 2 x 1 m with four upright edges cut at 45 degrees in two steps: 2 % less at most.
    shell = Shell([(0, -2, 2, 1), (1, -2, 2, 1)], [0.0, 1.0], 0.1)
    assert _volume(shell.part()[0]) == pytest.approx(8, rel=0.02)
    for side in (-1, 1):
        mesh = MeshBuilder()
        add_wheel(mesh, 0, 0, 0.3, 0.2, side, spokes=0)
        assert _volume(mesh.parts[0][0]) == pytest.approx(np.pi * 0.09 * 0.2, rel=0.2)


@pytest.mark.parametrize(("side", "sign"), [(1, 1), (-1, -1)])
def test_panels_of_a_shell_are_painted_where_asked(side: int, sign: int) -> None:
    shell = Shell([(0, -2, 2, 1), (1, -2, 2, 1)], [-1.0, 0.5], 0.1)
    shell.paint(GLASS, slice(0, 1), -1.0, 0.5, side=side)
    (vertices, faces, _), materials, which = shell.part()
    assert materials[0] == BODY
    glass = vertices[faces[which == materials.index(GLASS)]].reshape(-1, 3)
    assert glass.min(0).tolist() == [-1.0, sign * 1.0, 0.0]
    assert glass.max(0).tolist() == [0.5, sign * 1.0, 1.0]
    shell.paint(None, slice(0, 1), -1.0, 0.5, side=side)
    assert len(shell.part()[0][1]) == len(faces) - 2


def test_the_front_and_the_rear_of_a_shell_are_painted() -> None:
    for front, x in ((True, 2.0), (False, -2.0)):
        shell = Shell([(0, -2, 2, 1), (1, -2, 2, 1)], [-1.0, 0.5], 0.1)
        shell.paint_ends(GLASS, slice(0, 1), front)
        (vertices, faces, _), _, which = shell.part()
        glass = vertices[faces[which == 1]].reshape(-1, 3)
        assert np.allclose(glass[:, 0], x)
        assert np.ptp(glass[:, 1]) == pytest.approx(1.8)


def test_every_paint_of_the_distributions_is_known() -> None:
    assert set(Distributions().weights("vehicles.paint")) == set(PAINTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_liveries_follow_their_distributions(family: str) -> None:
    red = Distributions({"vehicles": {"paint": {"choice": {"red": 1}}, "paint_brightness": 1.0}})
    palette = draw_livery(np.random.default_rng(0), red, family)
    assert palette.shape == (4, 3)
    assert palette[0].tolist() == list(PAINTS["red"])
    bright = Distributions({"vehicles": {"paint_brightness": 3.0}})
    assert draw_livery(np.random.default_rng(0), bright, family)[:2].max() <= BRIGHTEST


def test_a_second_colour_may_be_a_shade_of_the_first() -> None:
    shade = {"paint": {"choice": {"red": 1}}, "paint_brightness": 1.0, "second_bus": {"choice": {"shade": 1}}}
    palette = draw_livery(np.random.default_rng(0), Distributions({"vehicles": shade}), "bus")
    assert palette[1].tolist() == [0.5 * value for value in PAINTS["red"]]


def test_the_paint_does_not_give_away_the_class() -> None:
    """Mean main paint of 3000 vehicles per kind: all from one distribution, so equal up to sampling error (0.004)."""
    rng, distributions = np.random.default_rng(1), Distributions()
    means = [np.mean([draw_livery(rng, distributions, family)[0] for _ in range(3000)], axis=0) for family in FAMILIES]
    assert np.ptp(means, axis=0).max() < 0.03
