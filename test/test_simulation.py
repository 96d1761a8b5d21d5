"""The street simulator as a whole: truth against its definitions, an independent ray caster, and repeatability."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.invariants import InvariantViolations
from amodal_perception_ros.labels import BY_ID, THINGS
from amodal_perception_ros.scene import Evidence
from amodal_perception_ros.simulation import SequenceConfig, simulate
from amodal_perception_ros.simulation.config import Stream
from amodal_perception_ros.simulation.sequence import REACH, SequenceRunner
from amodal_perception_ros.simulation.town.town import build_town
from amodal_perception_ros.simulation.traffic.traffic import build_traffic

CONFIG = SequenceConfig(seed=1, frames=2, rate_hz=2.0, width=192, height=108, supersample=1, layout="crossing")

DIGEST = """
import hashlib
from amodal_perception_ros.simulation import SequenceConfig, simulate

def digest(config):
    h = hashlib.sha256()
    for sample in simulate(config):
        for name, scene in sample.truth.cameras.items():
            h.update(sample.frame.images[name].tobytes() + scene.labels.tobytes() + scene.depth.tobytes())
            for instance in scene.instances:
                h.update(instance.amodal_mask.counts.tobytes() + instance.depth.tobytes())
        h.update(sample.frame.lidar.tobytes() + sample.bev.visible.tobytes() + sample.bev.semantic.tobytes())
        h.update(sample.frame.odom_from_base.tobytes() + b"".join(f.tobytes() for f in sample.flow.values()))
        h.update(sample.point_segments.tobytes() + sample.point_rings.tobytes() + repr(sorted(sample.moving)).encode())
        h.update(sample.bev_image.tobytes() + sample.bev_labels.tobytes())
        h.update(sample.imu.orientation.tobytes() + sample.imu.angular_velocity.tobytes())
        h.update(sample.imu.linear_acceleration.tobytes() + repr(sample.gnss).encode())
    return h.hexdigest()
"""
NIGHT = "SequenceConfig(seed=5, frames=2, width=96, height=55, weather='night', supersample=2)"


OTHER = SequenceConfig(seed=8, frames=1, width=64, height=40, weather="fog", layout="straight")


@pytest.fixture(scope="module")
def samples():
    """Both frames of CONFIG, drawn while a second simulator of another size and weather is alive."""
    this, other = simulate(CONFIG), simulate(OTHER)
    first, _, second = next(this), next(other), next(this)
    assert next(this, None) is None
    assert next(other, None) is None
    return [first, second]


@pytest.fixture(scope="module")
def runner():
    """The same sequence alone, without bird's eye truth."""
    runner = SequenceRunner(replace(CONFIG, bev=False))
    yield runner
    runner.release()


def scenes(samples):
    return [scene for sample in samples for scene in sample.truth.cameras.values()]


def test_sample_has_every_part(samples):
    assert [s.index for s in samples] == [0, 1]
    assert samples[0].sequence == "seq_000001"
    assert samples[1].frame.stamp_ns - samples[0].frame.stamp_ns == 500_000_000
    for sample in samples:
        assert [c.name for c in sample.frame.rig.cameras] == ["front", "right", "back", "left"]
        assert sample.frame.images["front"].shape == (108, 192, 3)
        assert sample.frame.images["front"].std() > 10
        assert sample.frame.lidar.dtype == np.float32
        assert len(sample.frame.lidar) > 10_000
        assert sample.bev.amodal.shape == (400, 400)


def test_every_pixel_has_a_known_class_and_sky_has_no_depth(samples):
    for scene in scenes(samples):
        classes = scene.labels // 1000
        assert set(np.unique(classes)) <= set(BY_ID)
        assert ((scene.labels % 1000 > 0) == np.isin(classes, [t.id for t in THINGS])).all()
        assert (np.isnan(scene.depth) == (classes == 23)).all()
        assert np.nanmin(scene.depth) > 0


def test_visible_masks_are_the_labels_and_lie_inside_the_amodal_masks(samples):
    for scene in scenes(samples):
        things = np.zeros(scene.labels.shape, int)
        for instance in scene.instances:
            visible = instance.visible_mask.to_array(*scene.labels.shape)
            assert (visible == (scene.labels == instance.instance_id)).all()
            assert instance.visible_mask.is_subset_of(instance.amodal_mask)
            assert instance.amodal_mask.area > 0
            things += visible
        assert ((things == 1) == (scene.labels % 1000 > 0)).all()


def test_visible_depth_equals_the_depth_of_the_object_alone(samples):
    checked = 0
    for scene in scenes(samples):
        for instance in scene.instances:
            mask = instance.amodal_mask
            inside, frame = mask.roi(), (mask.x_offset, mask.y_offset, mask.width, mask.height)
            assert (np.isfinite(instance.depth) == inside).all()
            visible = instance.visible_mask.window(*frame)
            left, top, right, bottom = mask.box
            assert (scene.depth[top:bottom, left:right][visible] == instance.depth[visible]).all()
            hidden_by_something = scene.depth[top:bottom, left:right][inside & ~visible]
            assert (hidden_by_something <= instance.depth[inside & ~visible]).all()
            checked += int(visible.sum())
    assert checked > 3000


def test_levels_follow_their_definition(samples):
    seen = set()
    for scene in scenes(samples):
        level = {i.instance_id: i.occlusion_level for i in scene.instances}
        occluders = {k: [] for k in level}
        for front, back in zip(scene.order.occluder_ids.tolist(), scene.order.occludee_ids.tolist()):
            occluders[back].append(front)
        for key, fronts in occluders.items():
            highest = max((level[f] for f in fronts), default=-1)
            assert level[key] == min(highest + 1, 7)
        seen |= set(level.values())
    assert {0, 1, 2} <= seen


def test_the_truth_violates_no_invariant(samples):
    violations = InvariantViolations()
    for scene in scenes(samples):
        violations.add(decode(scene))
    results = violations.results()
    assert results["violations"] == 0, results
    assert results["checked"]["edges"] > 20


def test_occluder_is_nearer_on_most_of_the_overlap(samples):
    pairs = 0
    for scene in scenes(samples):
        order = scene.order
        for front, back, overlap, cyclic in zip(
            order.occluder_ids, order.occludee_ids, order.overlap_px, order.in_cycle
        ):
            a, b = scene.instance(int(front)), scene.instance(int(back))
            both = a.amodal_mask & b.amodal_mask
            assert both.area == overlap > 0
            window = (both.x_offset, both.y_offset, both.width, both.height)
            inside = both.roi()
            za, zb = (_depth_window(i, *window)[inside] for i in (a, b))
            if not cyclic:
                assert (za < zb).sum() >= (za > zb).sum()
            pairs += 1
    assert pairs > 20


def _depth_window(instance, x, y, width, height):
    left, top = x - instance.amodal_mask.x_offset, y - instance.amodal_mask.y_offset
    return instance.depth[top : top + height, left : left + width]


def test_boxes_contain_the_amodal_surface_of_their_object(samples):
    checked = 0
    for sample in samples:
        objects = {o.track_id: o for o in sample.objects}
        for scene in sample.truth.cameras.values():
            pose = sample.frame.odom_from_base @ scene.camera.base_from_camera
            for instance in scene.instances:
                box = objects[instance.track_id]
                assert box.class_id == instance.class_id
                rows, columns = np.nonzero(instance.amodal_mask.roi())
                z = instance.depth[rows, columns].astype(float)
                k = scene.camera.intrinsics
                u = columns + instance.amodal_mask.x_offset + 0.5
                v = rows + instance.amodal_mask.y_offset + 0.5
                points = np.stack([(u - k[0, 2]) / k[0, 0] * z, (v - k[1, 2]) / k[1, 1] * z, z], -1)
                world = points @ pose[:3, :3].T + pose[:3, 3] - box.center
                c, s = np.cos(box.yaw), np.sin(box.yaw)
                local = np.stack(
                    [world[:, 0] * c + world[:, 1] * s, -world[:, 0] * s + world[:, 1] * c, world[:, 2]], -1
                )
                assert (np.abs(local) <= box.size / 2 + 0.01).all()
                checked += len(z)
    assert checked > 5000


def test_objects_keep_identity_and_move_with_their_velocity(samples):
    first, second = ({o.track_id: o for o in s.objects} for s in samples)
    moving = 0
    for key in first.keys() & second.keys():
        a, b = first[key], second[key]
        assert (a.class_id, tuple(a.size)) == (b.class_id, tuple(b.size))
        if a.class_id in (26, 27, 28) and np.hypot(*a.velocity[:2]) > 2:
            mean = 0.5 * (a.velocity + b.velocity)
            assert (b.center - a.center)[:2] == pytest.approx(0.5 * mean[:2], abs=1.0)
            moving += 1
    assert moving
    for sample in samples:
        ego = sample.frame.odom_from_base[:2, 3]
        assert all(np.hypot(*(o.center[:2] - ego)) < REACH + 3 for o in sample.objects)
        assert all(1 <= o.track_id <= 999 for o in sample.objects)
        assert len({o.track_id for o in sample.objects}) == len(sample.objects)


def test_a_seen_object_names_its_cameras_and_a_hidden_one_none(samples):
    for sample in samples:
        for o in sample.objects:
            share = [(n, i) for n, s in sample.truth.cameras.items() for i in s.instances if i.track_id == o.track_id]
            assert o.cameras == tuple(n for n, i in share if i.visible_mask.area)
            assert (o.visible_fraction > 0) == bool(o.cameras)
            if o.cameras:
                assert o.last_seen_ns == sample.frame.stamp_ns
            else:
                assert o.last_seen_ns < sample.frame.stamp_ns


def test_lidar_points_lie_on_the_surfaces_that_the_cameras_see(samples):
    errors = []
    for sample in samples:
        for scene in sample.truth.cameras.values():
            camera = scene.camera
            camera_from_lidar = np.linalg.inv(camera.base_from_camera) @ sample.frame.rig.base_from_lidar
            points = sample.frame.lidar[:, :3] @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
            points = points[points[:, 2] > 0.5]
            pixel = points @ camera.intrinsics.T
            column, row = (np.floor(pixel[:, k] / pixel[:, 2]).astype(int) for k in (0, 1))
            inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
            depth = scene.depth[row[inside], column[inside]]
            errors.append((points[inside, 2] - depth) / depth)
    error = np.concatenate(errors)
    assert np.nanmedian(np.abs(error)) < 0.02
    assert np.mean(np.abs(error) < 0.06) > 0.85


def test_bev_holds_every_object_and_marks_what_was_reached(samples):
    for sample in samples:
        bev = sample.bev
        assert np.isin(bev.amodal, (0, 100)).all()
        reached = bev.visible >= 0
        assert (bev.visible[reached] == bev.amodal[reached]).all()
        assert (bev.visible[~reached] == -1).all()
        assert ((bev.evidence == Evidence.AMODAL_INFERRED) == ~reached).all()
        assert 0.02 < reached.mean() < 0.9
        assert ((bev.amodal == 100) & ~reached).sum() > 500
        assert (bev.amodal[np.isin(bev.semantic, (11, 12, 13))] == 100).all()
        cars = 0
        for o in sample.objects:
            column, row = np.floor((o.center[:2] - bev.origin) / bev.resolution).astype(int)
            if o.class_id in (26, 27, 28) and 0 <= column < 400 and 0 <= row < 400:
                assert bev.amodal[row, column] == 100
                assert bev.semantic[row, column] in (24, 25, 26, 27, 28)
                cars += 1
        assert cars > 5
        ego = sample.frame.odom_from_base[:2, 3]
        assert np.abs(np.array(bev.origin) + 40 - ego).max() <= 0.2


def cells_inside(bev, corners, margin):
    """Cells whose centre is within a convex outline that is moved inwards by a margin [m]."""
    centre = 0.2 * (np.arange(400) + 0.5)
    x, y = np.meshgrid(bev.origin[0] + centre, bev.origin[1] + centre)
    edges = np.roll(corners, -1, 0) - corners
    turn = np.sign(edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0])
    away = np.maximum(corners.min(0) - bev.origin - 80, bev.origin - corners.max(0)).max()
    inside = np.full((400, 400), away < 1)
    if away >= 1:
        return inside
    for (cx, cy), (ex, ey) in zip(corners, edges):
        inside &= turn * (ex * (y - cy) - ey * (x - cx)) > margin * np.hypot(ex, ey)
    return inside


def outline(o):
    c, s = np.cos(o.yaw), np.sin(o.yaw)
    corners = 0.5 * o.size[:2] * [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return o.center[:2] + corners @ np.array([(c, s), (-s, c)])


def test_bev_is_the_outlines_of_all_boxes_and_footprints_seen_or_not(samples, runner):
    bev, boxes = samples[0].bev, samples[0].objects
    inner, outer, static = (np.zeros((400, 400), bool) for _ in range(3))
    for o in boxes:
        outer |= cells_inside(bev, outline(o), -0.2)
        if o.class_id in (26, 28):  # trucks have gaps
            inner |= cells_inside(bev, outline(o), 0.3 * o.size[1])
    things = outer.copy()
    for footprint in runner.town.footprints:
        static |= cells_inside(bev, footprint.corners, 0.15)
        outer |= cells_inside(bev, footprint.corners, -0.2)
    occupied, hidden = bev.amodal == 100, bev.visible == -1
    assert not (occupied & ~outer).any()
    for expected in (inner, static):
        assert occupied[expected].all()
        assert (expected & hidden).sum() > 500
        assert (expected & ~hidden).sum() > 50
    assert np.isin(bev.semantic[inner], [o.class_id for o in boxes]).all()
    assert not np.isin(bev.semantic[static & ~things], [o.class_id for o in boxes]).any()


def test_picture_and_labels_from_above_show_the_area_of_the_grid(samples):
    for sample in samples:
        bev = sample.bev
        assert sample.bev_image.shape == (400, 400, 3)
        assert sample.bev_image.dtype == np.uint8
        assert sample.bev_image.std() > 10
        assert sample.bev_labels.shape == (400, 400)
        assert sample.bev_labels.dtype == np.uint16
        classes = sample.bev_labels[::-1] // 1000
        ground = np.isin(classes, (7, 8, 22)) & np.isin(bev.semantic, (7, 8, 22))
        assert (classes == bev.semantic)[ground].mean() > 0.99
        roofs = classes == 11
        assert (bev.semantic[roofs] == 11).mean() > 0.9
        things = np.unique(sample.bev_labels[sample.bev_labels % 1000 > 0])
        boxes = {o.class_id * 1000 + o.track_id: o for o in sample.objects}
        assert len(things) > 10
        for thing in things.tolist():
            rows, columns = np.nonzero(sample.bev_labels[::-1] == thing)
            center = np.array(bev.origin) + 0.2 * (np.array([columns.mean(), rows.mean()]) + 0.5)
            assert np.linalg.norm(center - boxes[thing].center[:2]) < 0.6 * np.linalg.norm(boxes[thing].size[:2]) + 0.2


def test_moving_things_are_those_that_the_next_frame_shows_elsewhere(samples):
    first, second = ({o.track_id: o.center for o in s.objects} for s in samples)
    both = first.keys() & second.keys()
    displaced = {track for track in both if np.linalg.norm(second[track] - first[track]) > 0.2 * 0.5}
    assert samples[0].moving & both == displaced
    assert 5 < len(displaced) < len(both)


def test_without_bird_s_eye_truth_nothing_else_changes(samples, runner):
    bare = runner.sample(0)
    assert bare.bev is None
    assert bare.bev_image is None
    assert bare.bev_labels is None
    assert (bare.frame.lidar == samples[0].frame.lidar).all()
    for name, scene in samples[0].truth.cameras.items():
        assert (bare.frame.images[name] == samples[0].frame.images[name]).all()
        assert (bare.truth.cameras[name].labels == scene.labels).all()


def test_two_processes_give_bit_identical_output():
    code = DIGEST + f"print(digest({NIGHT}))"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    names = {"hashlib": hashlib}
    exec(DIGEST, names)
    here = names["digest"](eval(NIGHT))
    assert other.communicate(timeout=300)[0].strip() == here
    assert other.returncode == 0


def test_a_second_simulator_disturbs_nothing(samples, runner):
    alone = runner.sample(1)
    for name, image in samples[1].frame.images.items():
        assert (image == alone.frame.images[name]).all()
        assert (samples[1].truth.cameras[name].labels == alone.truth.cameras[name].labels).all()
    assert (samples[1].frame.lidar == alone.frame.lidar).all()


@pytest.mark.parametrize(
    "extreme",
    [
        {"width": 16, "height": 16, "rate_hz": 0.1, "traffic": 0.0, "layout": "parking_lot", "weather": "rain"},
        {"width": 33, "height": 17, "rate_hz": 1000.0, "traffic": 3.0, "layout": "straight", "bev": False},
        {"width": 17, "height": 16, "rate_hz": 1.0, "renderer": "raycast", "layout": "suburban", "bev": False},
    ],
)
def test_legal_extremes_work(extreme):
    config = SequenceConfig(6, frames=2, **extreme)
    for index, sample in enumerate(simulate(config)):
        assert sample.frame.stamp_ns == 1_000_000_000 + round(index * 1e9 / config.rate_hz)
        assert len(sample.frame.lidar) > 10_000
        assert np.isfinite(sample.frame.lidar).all()
        assert np.isfinite([*sample.imu.angular_velocity, *sample.imu.linear_acceleration]).all()
        assert bool(sample.moving) == (config.traffic > 0)
        for name, scene in sample.truth.cameras.items():
            assert sample.frame.images[name].shape == (config.height, config.width, 3)
            assert sample.frame.images[name].std() > 5
            assert sample.flow[name].shape == (config.height, config.width, 2)
            assert np.isfinite(sample.flow[name]).any()
            assert set(np.unique(scene.labels // 1000)) <= set(BY_ID)
            for instance in scene.instances:
                visible = instance.visible_mask.to_array(config.height, config.width)
                assert (visible == (scene.labels == instance.instance_id)).all()
    assert index == 1


def test_all_thing_classes_appear_over_a_few_seeds():
    found, wanted, seed = set(), {t.id for t in THINGS}, 2
    while found != wanted and seed < 12:
        config = SequenceConfig(seed, frames=1, layout="straight")
        traffic = build_traffic(config, build_town(config))
        found |= {t.class_id for t in traffic.things if np.hypot(*(t.poses[0, :2] - traffic.ego[0, :2])) < REACH}
        assert len({t.track_id for t in traffic.things}) == len(traffic.things) <= 999
        seed += 1
    assert found == wanted


def test_vehicles_keep_their_distance_and_riders_stay_on_their_vehicle():
    config = SequenceConfig(11, frames=40, rate_hz=4.0)
    traffic = build_traffic(config, build_town(config))
    assert (traffic.ego_speed <= 12.5).all()
    step = np.hypot(*np.diff(traffic.ego[:, :2], axis=0).T)
    assert step == pytest.approx(0.25 * 0.5 * (traffic.ego_speed[1:] + traffic.ego_speed[:-1]), abs=0.2)
    for frame in range(config.frames):
        for thing in traffic.things:
            if np.hypot(*(thing.poses[frame, :2] - traffic.ego[frame, :2])) < REACH:
                jump = thing.poses[frame + 1, :2] - thing.poses[frame, :2]
                assert np.hypot(*jump) < 25 * 0.25  # nothing annotated vanishes: its optical flow is known
    for a, b in pairwise(traffic.things):
        if b.class_id == 25:
            assert a.class_id in (32, 33)
            assert (a.poses == b.poses).all()
    lanes = {}
    for thing in traffic.things:
        if thing.lights and thing.class_id != 25:
            key = (round(np.degrees(thing.poses[0, 3])), round(float(thing.poses[0, 1]), 0))
            lanes.setdefault(key, []).append(thing)
    for members in lanes.values():
        for a in members:
            for b in members:
                if a is not b and abs(np.sin(a.poses[0, 3])) < 0.1:
                    gap = np.abs(a.poses[:, 0] - b.poses[:, 0])
                    assert gap.min() > 0.4 * (a.high[0] - a.low[0] + b.high[0] - b.low[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("seed", True),
        ("seed", 1.0),
        ("frames", 0),
        ("frames", 2.5),
        ("width", 100.5),
        ("rate_hz", "10"),
        ("rate_hz", float("nan")),
        ("bev", 1),
        ("name", "../x"),
        ("name", ""),
        ("name", 3),
        ("rate_hz", 0),
        ("width", 8),
        ("height", 9000),
        ("supersample", 5),
        ("weather", "hail"),
        ("layout", "ring"),
        ("traffic", -1),
        ("traffic", None),
    ],
)
def test_wrong_settings_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        SequenceConfig(**{"seed": 1, field: value})


def test_a_picture_is_no_larger_than_textures_are():
    assert SequenceConfig(np.int64(1), width=8192, height=4096, supersample=2, name="A-b_3").sequence_name == "A-b_3"
    with pytest.raises(ValueError, match=r"width \* supersample = 16800; allowed: at most 16384"):
        SequenceConfig(1, width=4200, supersample=4)


def test_streams_of_frames_and_cameras_are_none_of_the_others():
    config = SequenceConfig(7)
    keys = [(), *[(k,) for k in range(3)], *[(k, m) for k in range(3) for m in range(3)]]
    drawn = {config.stream(purpose, *key).integers(2**63).item() for purpose in Stream for key in keys}
    assert len(drawn) == len(Stream) * len(keys)
