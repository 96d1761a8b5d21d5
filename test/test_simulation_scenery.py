"""Buildings, plants, posts, enclosures and props: classes, footprints, budgets; equal seeds build equal things."""

import numpy as np
import pytest

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.simulation.assets.buildings import BUILDING_FAMILIES, add_building
from amodal_perception_ros.simulation.assets.enclosures import add_fence, add_wall
from amodal_perception_ros.simulation.assets.foliage import SEASONS, foliage
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, MeshBuilder, box, boxes, tubes
from amodal_perception_ros.simulation.assets.poles import (
    LAMP_STYLES,
    SIGNAL_STYLES,
    add_sign,
    add_signal_mast,
    add_street_lamp,
)
from amodal_perception_ros.simulation.assets.props import PROPS
from amodal_perception_ros.simulation.assets.shrubs import add_bush, add_hedge
from amodal_perception_ros.simulation.assets.trees import SPECIES, add_tree
from amodal_perception_ros.simulation.distributions import Distributions

SEEDS = range(12)
BUILDING, WALL, FENCE, POLE = (BY_NAME[name].id for name in ("building", "wall", "fence", "pole"))
SIGN, LIGHT, VEGETATION = (BY_NAME[name].id for name in ("traffic sign", "traffic light", "vegetation"))

PROP_CLASSES = {
    "market stall": {BUILDING, POLE},
    "billboard": {WALL, POLE},
    "planter": {WALL, VEGETATION},
    "trellis": {FENCE, VEGETATION},
}
"""The props of more than one class."""


def built(add, *arguments, **options):
    mesh = MeshBuilder()
    result = add(mesh, *arguments, **options)
    return mesh.bake(), result


def corners(model):
    return model.vertices["position"].astype(float)


def check_sound(model, most):
    """Finite, above the ground, no degenerate triangles, and no more of them than the budget allows."""
    triangles = model.triangles.astype(float)
    assert np.isfinite(model.vertices["position"]).all()
    assert np.isfinite(model.vertices["normal"]).all()
    assert np.isfinite(model.vertices["uv"]).all()
    assert np.linalg.norm(model.vertices["normal"], axis=1) == pytest.approx(1, abs=1e-4)
    assert (np.abs(model.vertices["color"] - 0.5) <= 0.5).all()
    area = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1) / 2
    assert area.min() > 1e-9
    assert model.low[2] > -0.01
    assert len(triangles) <= most


def classes(model):
    return set(model.vertices["cls"].astype(int).tolist())


# Props ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROPS)
def test_props_stand_within_their_footprint_and_classes(name):
    prop = PROPS[name]
    for seed in SEEDS:
        model, (length, width) = built(prop.add, np.random.default_rng(seed), 0.0, 0.0, 0.0, 0.0)
        check_sound(model, 400)
        assert classes(model) == PROP_CLASSES.get(name, {prop.class_id})
        assert length <= prop.length + 1e-6
        assert width <= prop.width + 1e-6
        assert np.abs(corners(model)[:, 0]).max() <= length / 2 + 2e-3
        assert np.abs(corners(model)[:, 1]).max() <= width / 2 + 2e-3
        assert model.low[2] < 0.05, "it floats"


@pytest.mark.parametrize("name", PROPS)
def test_props_are_put_where_they_are_wanted(name):
    add = PROPS[name].add
    plain, _ = built(add, np.random.default_rng(4), 0.0, 0.0, 0.0, 0.0)
    moved, _ = built(add, np.random.default_rng(4), 30.0, -7.0, 0.5, np.pi / 2)
    x, y, z = corners(plain).T
    assert corners(moved) == pytest.approx(np.stack([30 - y, -7 + x, z + 0.5], -1), abs=1e-4)


def test_the_hue_of_props_does_not_tell_their_class():
    """Bollards, bins, fences and cabinets come in reds, greens and blues alike."""
    for name in ("cabinet", "litter bin", "construction fence", "container"):
        colors = []
        for seed in range(60):
            model, _ = built(PROPS[name].add, np.random.default_rng(seed), 0.0, 0.0, 0.0, 0.0)
            values, which = np.unique(model.vertices["color"][::3, :3], axis=0, return_inverse=True)
            a, b, c = model.triangles.astype(float).transpose(1, 0, 2)
            area = np.bincount(which.ravel(), np.linalg.norm(np.cross(b - a, c - a), axis=1))
            colors.append(values[area.argmax()])
        strongest = {int(c.argmax()) for c in colors if c.max() > 1.5 * c.min()}
        assert strongest == {0, 1, 2}, name


# Buildings ------------------------------------------------------------------------------------------------


def sizes(family):
    """The smallest, the largest and three drawn sizes (width, depth, height) of a family."""
    rng = np.random.default_rng(7)
    ranges = (family.width, family.depth, family.height)
    yield tuple(low for low, _ in ranges)
    yield tuple(high for _, high in ranges)
    for _ in range(3):
        yield tuple(float(rng.uniform(*ends)) for ends in ranges)


@pytest.mark.parametrize("name", BUILDING_FAMILIES)
def test_buildings_keep_to_their_ground_size(name):
    for seed, (width, depth, height) in enumerate(sizes(BUILDING_FAMILIES[name])):
        for k in range(4):
            arguments = (np.random.default_rng([seed, k]), np.zeros(2), (width, depth), 0.0, 0.0, height)
            model, _ = built(add_building, *arguments, family=name)
            check_sound(model, 600)
            assert classes(model) == ({BUILDING, WALL} if name == "villa" else {BUILDING})
            over = np.abs(corners(model)[:, :2]) - 0.5 * np.array([width, depth])
            low = corners(model)[:, 2] < 1.9
            assert over[low].max() <= 0.15
            assert over.max() <= 1.2
            assert model.high[2] >= min(height, 2.4)
            assert (over[low].max(0) > -1.6).all(), "smaller than its outline"


def test_buildings_of_no_family_suit_their_size():
    """A size that only halls have gives a hall; an odd size gives what suits anywhere."""
    hall, _ = built(add_building, np.random.default_rng(1), np.zeros(2), (58.0, 38.0), 0.0, 0.0, 9.0)
    wanted, _ = built(add_building, np.random.default_rng(1), np.zeros(2), (58.0, 38.0), 0.0, 0.0, 9.0)
    assert hall.vertices.tobytes() == wanted.vertices.tobytes()
    assert int(Kind.ROOF) in {kind for kind, _, _ in hall.ranges}
    odd, _ = built(add_building, np.random.default_rng(1), np.zeros(2), (5.0, 40.0), 0.0, 0.0, 12.0)
    check_sound(odd, 600)


def test_unknown_families_are_named():
    with pytest.raises(ValueError, match=r"no building family 'castle'.*tenement"):
        add_building(MeshBuilder(), np.random.default_rng(0), np.zeros(2), (9, 9), 0.0, 0.0, 5.0, "castle")
    with pytest.raises(ValueError, match=r"no tree 'cactus' in 'summer'.*broad"):
        add_tree(MeshBuilder(), np.random.default_rng(0), 0.0, 0.0, 0.0, 100, "cactus")


# Plants ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("season", SEASONS)
@pytest.mark.parametrize("family", SPECIES)
def test_trees(family, season):
    for seed in SEEDS:
        model, radius = built(add_tree, np.random.default_rng(seed), 0.0, 0.0, 0.0, 900, family, season)
        check_sound(model, 2500)
        assert classes(model) == {VEGETATION}
        low = corners(model)[corners(model)[:, 2] < 0.4]
        assert np.hypot(*low[:, :2].T).max() <= 1.3 * radius, "the trunk is thicker than stated"
        assert np.hypot(*corners(model)[:, :2].T).max() < 5
        assert 2.5 < model.high[2] < 18


def leaf_cards_of(family, season):
    model, _ = built(add_tree, np.random.default_rng(3), 0.0, 0.0, 0.0, 300, family, season)
    return sum(count for kind, _, count in model.ranges if kind == Kind.LEAF)


def test_broad_leaved_trees_are_bare_in_winter():
    assert leaf_cards_of("broad", "summer") >= 300 * 6
    assert leaf_cards_of("broad", "winter") == 0
    assert leaf_cards_of("conifer", "winter") == leaf_cards_of("conifer", "summer") == 300 * 6


def test_seasons_have_their_colours():
    def redder_than_green(season):
        colors = np.array([foliage(np.random.default_rng(seed), season).color for seed in range(200)])
        return float((colors[:, 0] > colors[:, 1]).mean())

    assert redder_than_green("summer") < 0.02
    assert redder_than_green("autumn") > 0.6


def test_bushes():
    for seed in SEEDS:
        model, radius = built(add_bush, np.random.default_rng(seed), 0.0, 0.0, 0.0, SEASONS[seed % 4])
        check_sound(model, 500)
        assert classes(model) == {VEGETATION}
        assert np.hypot(*corners(model)[:, :2].T).max() < radius + 0.25


@pytest.mark.parametrize("add", [add_wall, add_fence, add_hedge])
def test_enclosures_run_between_their_ends(add):
    for seed in range(30):
        length = 3.0 + seed
        end = np.array([length * 0.6, length * 0.8])
        model, thickness = built(add, np.random.default_rng(seed), np.zeros(2), end, 0.0)
        check_sound(model, 3500 if add is add_hedge else 2500)
        along = corners(model)[:, :2] @ (0.6, 0.8)
        across = corners(model)[:, :2] @ (-0.8, 0.6)
        slack = 0.25 if add is add_hedge else 0.01
        assert along.min() > -slack
        assert along.max() < length + slack
        assert along.max() - along.min() > length - 0.3
        assert np.abs(across).max() < thickness / 2 + slack
        assert classes(model) == {{"add_wall": WALL, "add_fence": FENCE, "add_hedge": VEGETATION}[add.__name__]}


# Posts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", range(LAMP_STYLES))
def test_street_lamps_shine_from_their_lamp(style):
    model, light = built(add_street_lamp, 2.0, 3.0, 0.1, np.pi / 2, 7.0, style)
    check_sound(model, 400)
    assert classes(model) == {POLE}
    assert light[0] == pytest.approx(2.0, abs=1e-9)
    assert 3.0 <= light[1] <= 5.0
    bright = np.zeros(len(model.vertices), bool)
    for kind, first, count in model.ranges:
        bright[first : first + count] |= kind == Kind.LAMP
    assert np.linalg.norm(corners(model)[bright].mean(0) - light) < 0.25


def test_signs_have_a_post_and_a_plate_that_looks_the_right_way():
    for seed in range(40):
        model, _ = built(add_sign, np.random.default_rng(seed), 0.0, 0.0, 0.0, 0.0)
        check_sound(model, 400)
        assert classes(model) == {POLE, SIGN}
        plate = corners(model)[model.vertices["cls"] == SIGN]
        assert plate[:, 0].min() > 0.03, "a plate behind its post"
        assert plate[:, 2].min() > 1.0


@pytest.mark.parametrize("style", range(SIGNAL_STYLES))
def test_signal_masts_leave_room_for_their_lenses(style):
    for lenses, height in ((3, 3.2), (2, 2.4)):
        model, _ = built(add_signal_mast, 0.0, 0.0, 0.0, 0.0, height, lenses, style)
        check_sound(model, 200)
        assert classes(model) == {POLE, LIGHT}
        light = corners(model)[model.vertices["cls"] == LIGHT]
        assert light[:, 2].min() > 1.8
        at_lens = light[(light[:, 0] > 0.235) & (np.abs(light[:, 1]) < 0.1) & (np.abs(light[:, 2] - height) < 0.05)]
        assert not len(at_lens)


# All ------------------------------------------------------------------------------------------------------


def test_equal_seeds_build_equal_things():
    def everything():
        mesh, rng = MeshBuilder(), np.random.default_rng(11)
        for k, prop in enumerate(PROPS.values()):
            prop.add(mesh, rng, 10.0 * k, 0.0, 0.0, 0.3 * k)
        for k, name in enumerate(BUILDING_FAMILIES):
            add_building(mesh, rng, np.array([60.0 * k, 50.0]), (20.0, 12.0), 0.0, 0.0, 8.0, name)
        for k, name in enumerate(SPECIES):
            add_tree(mesh, rng, 10.0 * k, 90.0, 0.0, 200, name, SEASONS[k % 4])
        return mesh.bake().vertices.tobytes()

    assert everything() == everything()


def test_distributions_name_what_there_is():
    distributions = Distributions()
    assert set(distributions.weights("scenery.season")) == set(SEASONS)
    for place in ("street", "garden"):
        assert set(distributions.weights(f"scenery.{place}_trees")) <= set(SPECIES)
    for district in ("city", "suburb", "industrial"):
        assert set(distributions.weights(f"scenery.{district}_buildings")) <= set(BUILDING_FAMILIES)


def test_round_parts_are_shaded_smoothly_and_flat_ones_are_not():
    """A tube of 12 sides along z: smooth normals point nearly away from its axis, flat ones are 15 degrees off."""
    tube = tubes(np.zeros((1, 3)), np.array([[0, 0, 1.0]]), np.ones(1), np.ones(1), 12)
    material = Material((0.5, 0.5, 0.5))
    both = MeshBuilder().add(tube, material).add(tube, material, flat=True).bake()
    outward = corners(both) * (1, 1, 0)
    along = (np.abs((both.vertices["normal"] * outward).sum(1))).reshape(2, -1)
    assert along[0].min() > 0.99
    assert along[1] == pytest.approx(np.cos(np.pi / 12), abs=1e-4)


def test_many_boxes_are_as_many_single_ones():
    rng = np.random.default_rng(2)
    centers, extents = rng.normal(size=(5, 3)), rng.uniform(0.1, 2, (5, 3))
    vertices, faces, uv = boxes(centers, extents)
    for k, (center, size) in enumerate(zip(centers, extents)):
        one = box(center, size)
        assert vertices[24 * k : 24 * (k + 1)] == pytest.approx(one[0])
        assert (faces[12 * k : 12 * (k + 1)] - 24 * k == one[1]).all()
        assert uv[24 * k : 24 * (k + 1)] == pytest.approx(one[2])
    assert box((0, 0, 0), (2, 4, 6))[0].max(0) == pytest.approx((1, 2, 3))
