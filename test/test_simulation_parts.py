"""Parts of the simulator on scenes small enough to be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from amodal_perception_ros.occlusion import Layer, occlusion_order
from amodal_perception_ros.scene import Camera
from amodal_perception_ros.simulation.assets.meshes import (
    Kind,
    Material,
    MeshBuilder,
    box,
    capsule,
    cylinder,
    ellipsoid,
    moved,
    rounded_box,
)
from amodal_perception_ros.simulation.config import WEATHERS, SequenceConfig
from amodal_perception_ros.simulation.rendering.drawing import Item
from amodal_perception_ros.simulation.rendering.graphics import RendererError
from amodal_perception_ros.simulation.rendering.raycasting import NOTHING, TOWN, RayCaster
from amodal_perception_ros.simulation.rendering.renderer import Renderer
from amodal_perception_ros.simulation.rendering.view import View, camera_pose
from amodal_perception_ros.simulation.sensing.truth import camera_truth
from amodal_perception_ros.simulation.weather import draw_weather

GREY = Material((0.5, 0.5, 0.5))
CAR, PERSON = 26, 24


def cube(size, segment, center):
    matrix = np.eye(4)
    matrix[:3, 3] = center
    return Item(MeshBuilder().add(box((0, 0, 0), size), GREY).bake(), matrix, np.zeros((4, 3)), segment)


@pytest.fixture(scope="module")
def scene_of_three():
    """A camera at the origin looking along x (f = 50 px, 100 x 80 px), two boxes in line and a wall tile.

    Box A: front face at x = 5, 2 m x 2 m -> 20 x 20 px about the centre. Box B: front face at x = 10,
    6 m x 2 m -> 30 x 10 px. The wall (stuff) at x = 4 covers the picture left of column 40 from x = 4 m on.
    Person C stands behind the wall: front face at x = 8, 0.64 m wide -> 4 px, 1.6 m high -> 10 px.
    """
    camera = Camera("front", 100, 80, np.array([[50.0, 0, 50], [0, 50, 40], [0, 0, 1]]), camera_pose(np.zeros(3), 0.0))
    wall = MeshBuilder().add(box((4.05, 2.8, 0), (0.1, 4.0, 20.0)), GREY, cls=12).bake()
    items = [
        cube((1, 2, 2), CAR * 1000 + 1, (5.5, 0, 0)),
        cube((1, 6, 2), CAR * 1000 + 2, (10.5, 0, 0)),
        cube((1, 0.64, 1.6), PERSON * 1000 + 3, (8.5, 3.2, 0)),
    ]
    renderer = Renderer(100, 80, 1, draw_weather(SequenceConfig(0, weather="day")), [wall])
    renderer.begin(np.zeros(3), items, np.zeros((0, 7)), np.zeros((0, 8)))
    view = View(camera, camera.base_from_camera)
    yield renderer, view, items, camera_truth(renderer, view, items, 7), wall
    renderer.release()


def test_masks_depths_and_levels_of_boxes_in_line(scene_of_three):
    truth = scene_of_three[3]
    a, b, c = (truth.instance(k) for k in (26001, 26002, 24003))
    assert a.amodal_mask.box == (40, 30, 60, 50)
    assert b.amodal_mask.box == (35, 35, 65, 45)
    assert (a.amodal_mask.area, b.amodal_mask.area) == (400, 300)
    assert a.visible_mask.area == 400
    assert b.visible_mask.area == 10 * 5  # the 5 columns right of A; those on the left are behind the wall
    assert c.amodal_mask.box == (28, 35, 34, 45)  # front face 28..32, its right side 32..34
    assert c.visible_mask.area == 0
    assert np.isnan(c.visible_depth)
    assert (a.occlusion_level, b.occlusion_level, c.occlusion_level) == (0, 1, 0)
    assert (a.visible_depth, b.visible_depth) == pytest.approx((5.0, 10.0), rel=1e-6)
    assert c.amodal_depth == pytest.approx(8.0, rel=1e-6)
    assert a.depth == pytest.approx(np.full((20, 20), 5.0), rel=1e-6)
    assert truth.order.occluder_ids.tolist() == [26001]
    assert truth.order.occludee_ids.tolist() == [26002]
    assert truth.order.overlap_px.tolist() == [20 * 10]
    assert not truth.order.in_cycle.any()


def test_stuff_and_sky_are_labelled(scene_of_three):
    truth = scene_of_three[3]
    assert (truth.labels[:, :40] == 12_000).all()
    assert truth.depth[:, :40] == pytest.approx(np.full((80, 40), 4.0), rel=1e-6)
    assert (truth.labels[:30, 60:] == 23_000).all()
    assert np.isnan(truth.depth[:30, 60:]).all()


def test_object_across_the_near_plane_fills_the_picture(scene_of_three):
    renderer, view = scene_of_three[:2]
    left, top, depth = renderer.alone(view, cube((4, 6, 6), 26009, (0, 0, 0)))
    assert (left, top, depth.shape) == (0, 0, (80, 100))
    assert (depth > 0).all()
    assert renderer.alone(view, cube((1, 1, 1), 26009, (-3, 0, 0))) is None
    assert renderer.alone(view, cube((1, 1, 1), 26009, (5, 30, 0))) is None


def test_object_leaving_the_picture_is_clipped(scene_of_three):
    renderer, view = scene_of_three[:2]
    left, top, depth = renderer.alone(view, cube((1, 2, 20), 26009, (5.5, -5, 0)))
    assert (left, top, depth.shape[0]) == (83, 0, 80)  # its inner side reaches column 50 + 50 * 4 / 6
    assert left + depth.shape[1] == 100


def test_view_from_above_respects_the_height_band(scene_of_three):
    renderer, _, items, _, _ = scene_of_three
    low = np.array([0.0, -8.0])
    inside, outside = renderer.above(low, 0.5, 32, [items[:2], items[:2]], [(-0.5, 2.0), (1.5, 4.0)])
    expected = np.zeros((32, 32), int)
    expected[14:18, 10:12] = 26001  # y -1..1, x 5..6 in cells of 0.5 m from (0, -8)
    expected[10:22, 20:22] = 26002  # y -3..3, x 10..11
    assert (inside == expected).all()
    assert (outside == 0).all()


def test_a_picture_that_opengl_cannot_hold_is_refused_with_the_limit():
    with pytest.raises(RendererError, match=r"40000 x 32 shaded points .* largest picture is \d{4,5} x \d{4,5}: use"):
        Renderer(10_000, 8, 4, draw_weather(SequenceConfig(0, weather="day")), [])


def test_rays_meet_the_nearest_surface(scene_of_three):
    items, wall = scene_of_three[2], scene_of_three[4]
    caster = RayCaster([wall])
    directions = np.array([[1, 0, 0], [1, 0.8, 0], [1, -0.25, 0], [-1, 0, 0]], float)
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    hits = caster.cast(np.zeros(3), unit, items)
    assert hits.distance[:3] == pytest.approx([5, 4 * np.hypot(1, 0.8), 10 * np.hypot(1, 0.25)], rel=1e-5)
    assert hits.distance[3] == np.inf
    assert hits.segment.tolist() == [26001, 12000, 26002, 0]
    assert hits.owner.tolist() == [0, TOWN, 1, NOTHING]
    assert hits.cosine[:3] == pytest.approx([1, 1 / np.hypot(1, 0.8), 1 / np.hypot(1, 0.25)], rel=1e-5)


def layer(segment, top, left, depth):
    return Layer(segment, left, top, np.array(depth, np.float32))


def test_a_cycle_is_broken_by_median_depth_and_flagged():
    """Three bars, each over the next at one end: A over B, B over C, C over A."""
    a = layer(26001, 0, 0, [[1, 5, 5, 5, 9]])
    b = layer(26002, 0, 0, [[2], [6], [6], [6], [3]])
    c = layer(26003, 0, 4, [[8], [7], [7], [7], [7]])
    c2 = layer(26003, 4, 0, [[4, 7, 7, 7, 7]])
    order, levels = occlusion_order([a, b, c2])
    assert not order.in_cycle.any()
    assert levels == [0, 1, 2]
    corner = layer(26003, 0, 0, [[0, 0, 0, 0, 8], [0, 0, 0, 0, 7], [0, 0, 0, 0, 7], [0, 0, 0, 0, 7], [4, 7, 7, 7, 7]])
    order, levels = occlusion_order([a, b, corner])
    assert order.in_cycle.all()
    assert len(order) == 3
    edges = set(zip(order.occluder_ids.tolist(), order.occludee_ids.tolist()))
    assert edges == {(26001, 26002), (26002, 26003), (26001, 26003)}  # medians 5 < 6 < 7
    assert levels == [0, 1, 2]
    assert occlusion_order([a, c])[1] == [1, 0]


def test_majority_decides_a_mutual_pair():
    rider = layer(25001, 0, 0, [[3, 3, 3, 5]])
    bike = layer(33002, 0, 0, [[4, 4, 4, 4]])
    order, levels = occlusion_order([bike, rider])
    assert (order.occluder_ids.tolist(), order.occludee_ids.tolist()) == ([25001], [33002])
    assert order.overlap_px.tolist() == [4]
    assert levels == [1, 0]


def test_levels_stop_at_seven():
    stack = [layer(26001 + k, 0, 0, [[k + 1.0]]) for k in range(10)]
    assert occlusion_order(stack)[1] == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]


@st.composite
def random_layers(draw):
    """Up to seven things on 12 x 9 pixels: rectangles with depths in whole metres and holes."""
    layers = []
    for k in range(draw(st.integers(2, 7))):
        width, height = draw(st.integers(1, 8)), draw(st.integers(1, 6))
        depth = draw(arrays(np.float32, (height, width), elements=st.sampled_from([0, 2, 3, 4, 5, 9])))
        depth[0, 0] = depth[0, 0] or 4
        layers.append(Layer(26001 + k, draw(st.integers(0, 6)), draw(st.integers(0, 4)), depth))
    return layers


@given(random_layers())
def test_order_and_levels_of_random_layers_satisfy_their_definition(layers):
    """Worked out pixel by pixel: who is nearer on most of the shared pixels, who can reach whom, and the levels."""
    count = len(layers)
    depth = np.zeros((count, 12, 16))
    for k, item in enumerate(layers):
        height, width = item.depth.shape
        depth[k, item.top : item.top + height, item.left : item.left + width] = item.depth
    median = np.array([np.median(d[d > 0]) for d in depth])
    majority, shared = np.zeros((count, count), bool), np.zeros((count, count), int)
    for i in range(count):
        for j in range(count):
            both = (depth[i] > 0) & (depth[j] > 0)
            shared[i, j] = both.sum()
            lead = (depth[i] < depth[j])[both].sum() - (depth[i] > depth[j])[both].sum()
            tie = (median[i], i) < (median[j], j)
            majority[i, j] = i != j and shared[i, j] > 0 and (lead > 0 or (lead == 0 and tie))
    reach = majority.copy()
    for k in range(count):
        reach |= reach[:, [k]] & reach[[k]]
    order, levels = occlusion_order(layers)
    edges = {}
    for a, b, overlap, cyclic in zip(order.occluder_ids, order.occludee_ids, order.overlap_px, order.in_cycle):
        i, j = int(a) - 26001, int(b) - 26001
        assert overlap == shared[i, j] > 0
        assert cyclic == (reach[i, j] and reach[j, i])
        assert (median[i], i) < (median[j], j) if cyclic else majority[i, j]
        edges[i, j] = cyclic
    for i in range(count):
        for j in range(i):
            assert ((i, j) in edges) + ((j, i) in edges) == (shared[i, j] > 0)
    for j in range(count):
        fronts = [levels[i] for i in range(count) if (i, j) in edges]
        assert levels[j] == (max(fronts) + 1 if fronts else 0)


def test_nothing_in_sight_gives_an_empty_order():
    order, levels = occlusion_order([])
    assert len(order) == 0
    assert levels == []


PRIMITIVES = {
    "box": box((0, 0, 1), (2, 1, 2)),
    "rounded box": rounded_box((0, 0, 1), (2, 1, 2), 0.1),
    "ellipsoid": ellipsoid((0, 0, 1), (1, 1, 1)),
    "capsule": capsule((0, 0, 0.5), (0, 0.3, 1.5), 0.2),
    **{f"cylinder {axis}": moved(cylinder(0.5, 1.0, axis=axis), (0, 0, 1)) for axis in "xyz"},
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitives_have_unit_normals_that_point_outwards(name):
    model = MeshBuilder().add(PRIMITIVES[name], GREY).bake(occlusion=True)
    normal, position = model.vertices["normal"], model.vertices["position"]
    middle = 0.5 * (model.low + model.high)
    assert np.linalg.norm(normal, axis=1) == pytest.approx(np.ones(len(normal)), abs=1e-5)
    assert (((position - middle) * normal).sum(1) > 0).all()
    assert ((model.vertices["ao"] >= 0.2) & (model.vertices["ao"] <= 1)).all()


@pytest.mark.parametrize("name", WEATHERS)
def test_every_weather_lights_every_material_differently_from_black(name):
    """A row of balls, one per material kind, in front of the camera: each is drawn in its own colour."""
    ball = ellipsoid((0, 0, 0), (0.4, 0.4, 0.4))
    items = []
    for k, kind in enumerate(Kind):
        matrix = np.eye(4)
        matrix[:3, 3] = (8, 6 - k, 0)
        model = MeshBuilder().add(ball, Material((0.6, 0.5, 0.4), 0.8, kind)).bake()
        items.append(Item(model, matrix, np.full((4, 3), 0.5), CAR * 1000 + 1 + k))
    weather = draw_weather(SequenceConfig(3, weather=name))
    camera = Camera(
        "front", 200, 40, np.array([[110.0, 0, 100], [0, 110, 20], [0, 0, 1]]), camera_pose(np.zeros(3), 0.0)
    )
    view = View(camera, camera.base_from_camera)
    renderer = Renderer(200, 40, 2, weather, [])
    try:
        lamps = np.array([(0, 0, 3.0, 30.0, 1, 0, 0, -1.0)])
        renderer.begin(np.zeros(3), items, np.array([(8, 0, 1, 0, 1, 1, 0.5)]), lamps)
        picture = renderer.picture(view, 0).astype(int)
        labels, _ = renderer.segments(view)
        background = renderer.picture(view, 1)[labels == 0].mean()
    finally:
        renderer.release()
    for item in items:
        mean = picture[labels == item.segment].mean()
        assert mean > 15
        assert abs(mean - background) > 1
