"""What the sensors say of a box, in scenes worked out by hand."""

import numpy as np
import pytest
from fusion_world import Box, observe, pose, rig
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.fusion.geometry import lidar_in_base
from amodal_perception_ros.fusion.visibility import Boxes, SensorViews
from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.scene import CameraScene, SurroundFrame, SurroundScene

CAR, PERSON, SKY, ROAD = (BY_NAME[name].id for name in ("car", "person", "sky", "road"))
VAN = Box("car", 12, 0, (5.0, 2.0, 2.2), np.pi / 2, 1)
CAR_SIZE, PERSON_SIZE = (4.5, 1.9, 1.6), (0.7, 0.7, 1.75)


def boxes(*items):
    """Boxes on the ground: (x, y, size, class id)."""
    centers = np.array([[x, y, size[2] / 2] for x, y, size, _ in items], float)
    return Boxes(centers, np.array([i[2] for i in items], float), np.zeros(len(items)), np.array([i[3] for i in items]))


def look(frame, scene, asked, odom_from_base=None):
    views = SensorViews(frame, scene, lidar_in_base(frame), pose() if odom_from_base is None else odom_from_base)
    return views.look_at(asked)


def one_camera(depth, label=ROAD, points=None):
    """A front camera that sees one depth everywhere, and LiDAR returns in base_link, or None."""
    setup = rig(cameras=("front",))
    camera = setup.cameras[0]
    shape = (camera.height, camera.width)
    scene = CameraScene(camera, 0, np.full(shape, label * 1000, np.uint16), np.full(shape, depth, np.float32))
    cloud = None
    if points is not None:
        origin = setup.base_from_lidar[:3, 3]
        cloud = np.column_stack([np.asarray(points, float) - origin, np.zeros(len(points))]).astype(np.float32)
    return SurroundFrame(0, setup, {}, lidar=cloud), SurroundScene(0, {"front": scene})


@pytest.mark.parametrize(
    ("depth", "label", "kind"),
    [
        (30.0, ROAD, "empty"),  # 30 > 1.2 x 10.6 + 0.5
        (11.0, ROAD, "occupied"),
        (5.0, ROAD, "hidden"),  # 1.2 x 5 + 0.5 < 9.4
        (np.nan, ROAD, "outside"),
        (np.nan, SKY, "empty"),
    ],
)
def test_visible_depth_of_a_camera_against_a_person_ten_metres_away(depth, label, kind):
    sightings = look(*one_camera(depth, label), boxes((10.5, 0.0, PERSON_SIZE, PERSON)))
    assert getattr(sightings, kind).tolist() == [1.0]


def test_clearly_farther_is_a_fifth_and_half_a_metre():
    """The core of a person at 10.5 m in front of the camera at 0.5 m lies from 9.93 to 10.07 m."""
    for depth, share in ((1.2 * 10.07 + 0.51, 1.0), (1.2 * 9.93 + 0.49, 0.0)):
        assert look(*one_camera(depth), boxes((10.5, 0.0, PERSON_SIZE, PERSON))).empty[0] == share


def test_behind_and_beside_the_camera_is_outside():
    asked = boxes((-10.0, 0.0, CAR_SIZE, CAR), (3.0, 20.0, CAR_SIZE, CAR))
    assert look(*one_camera(30.0), asked).outside.tolist() == [1.0, 1.0]


def test_beside_the_edge_of_a_thin_object_nobody_is_seen_through():
    frame, scene = one_camera(30.0)
    asked = boxes((10.5, 0.0, PERSON_SIZE, PERSON))
    assert look(frame, scene, asked).empty[0] == 1.0
    scene.cameras["front"].depth[:, 126:130:3] = 10.0
    assert look(frame, scene, asked).empty[0] == 0.0


def test_of_several_cameras_the_one_that_sees_through_counts():
    frame, scene = one_camera(5.0)
    through = one_camera(30.0)[1].cameras["front"]
    both = SurroundScene(0, {"front": scene.cameras["front"], "second": through})
    assert look(frame, both, boxes((10.5, 0.0, PERSON_SIZE, PERSON))).empty[0] == 1.0


def rays_to(x, heights, sides=(-0.3, 0.3)):
    """Points at a distance, seen from the LiDAR at (0, 0, 1.9)."""
    return [[x, y, z] for y in sides for z in heights]


@pytest.mark.parametrize(
    ("points", "empty", "occupied", "hidden"),
    [
        (rays_to(20.0, (-0.1, -0.2)), 1.0, 0.0, 0.0),  # they cross x = 10 at z = 0.9 and 0.85
        (rays_to(9.0, (0.9, 0.8)), 0.0, 1.0, 0.0),
        (rays_to(20.0, (-0.1, -0.2)) + rays_to(5.0, (1.4, 1.35)), 0.5, 0.0, 0.5),
        (rays_to(20.0, (-0.1, -0.2)) + rays_to(9.0, (0.9, 0.8)), 0.5, 0.5, 0.0),
    ],
)
def test_lidar_rays_through_into_and_before_a_car(points, empty, occupied, hidden):
    """The core of the car at 10 m spans x 8.65 .. 11.35, y -0.57 .. 0.57 and z 0.4 .. 0.96."""
    sightings = look(*one_camera(np.nan, points=points), boxes((10.0, 0.0, CAR_SIZE, CAR)))
    assert [s[0] for s in sightings] == pytest.approx([empty, occupied, hidden, 0.0])


def test_rays_over_and_beside_a_car_say_nothing_of_it():
    over = rays_to(20.0, (1.6, 1.8))
    beside = rays_to(20.0, (-0.1, -0.2), sides=(-4.0, 4.0))
    asked = boxes((10.0, 0.0, CAR_SIZE, CAR))
    assert look(*one_camera(np.nan, points=over + beside), asked).outside.tolist() == [1.0]


def test_three_rays_are_too_few_and_the_camera_decides():
    asked = boxes((10.0, 0.0, CAR_SIZE, CAR))
    points = rays_to(20.0, (-0.1, -0.2))
    assert look(*one_camera(5.0, points=points[:3]), asked).hidden.tolist() == [1.0]
    assert look(*one_camera(5.0, points=points), asked).empty.tolist() == [1.0]


def test_a_box_behind_the_lidar_is_found_across_the_jump_of_the_azimuth():
    asked = boxes((-10.0, 0.0, CAR_SIZE, CAR))
    assert look(*one_camera(np.nan, points=rays_to(-20.0, (-0.1, -0.2))), asked).empty.tolist() == [1.0]


@pytest.mark.parametrize("lidar", [True, False])
def test_shadow_of_a_van(lidar):
    frame, scene = observe([VAN], lidar=lidar)
    asked = boxes(
        (15.5, 0.0, PERSON_SIZE, PERSON),  # behind the van
        (8.0, 0.0, PERSON_SIZE, PERSON),  # before it
        (12.0, 0.0, PERSON_SIZE, PERSON),  # in it
        (12.0, 8.0, CAR_SIZE, CAR),  # beside it
    )
    empty, occupied, hidden, _ = look(frame, scene, asked)
    assert np.round(empty).tolist() == [0, 1, 0, 1]
    assert empty[0] == empty[2] == 0.0
    assert hidden[0] > 0.9
    assert occupied[2] + hidden[2] == pytest.approx(1.0)


@pytest.mark.parametrize("lidar", [True, False])
def test_an_object_is_not_seen_through(lidar):
    frame, scene = observe([VAN], lidar=lidar)
    asked = Boxes(np.array([[12, 0, 1.1]]), np.array([[5.0, 2.0, 2.2]]), np.array([np.pi / 2]), np.array([CAR]))
    assert look(frame, scene, asked).empty.tolist() == [0.0]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-30, 30), st.floats(-30, 30), st.sampled_from([CAR_SIZE, PERSON_SIZE]), st.just(CAR)),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
    st.floats(-3, 3),
)
def test_shares_add_up_and_do_not_depend_on_the_frame(items, lidar, yaw):
    frame, scene = observe([VAN], lidar=lidar, columns=256)
    asked = boxes(*items)
    here = np.array(look(frame, scene, asked))
    assert np.allclose(here.sum(axis=0), 1.0)
    assert (here >= 0).all()
    moved = pose(100.0, -40.0, yaw)
    there = Boxes(asked.centers @ moved[:3, :3].T + moved[:3, 3], asked.sizes, asked.yaws + yaw, asked.class_ids)
    # A ray or pixel exactly on an edge may fall to either side.
    assert np.abs(np.array(look(frame, scene, there, moved)) - here).mean() < 0.02


def test_nothing_asked_nothing_said():
    nobody = Boxes(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64))
    assert [len(part) for part in look(*observe([VAN]), nobody)] == [0] * 4
