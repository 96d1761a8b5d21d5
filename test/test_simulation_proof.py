"""The truth proven against an independent ray caster, on random scenes of several layouts and weathers."""

from dataclasses import asdict, dataclass

import cv2
import numpy as np
import pytest
from simulation_caster import Seen, Witness

from amodal_perception_ros.scene import Sample
from amodal_perception_ros.simulation import SequenceConfig
from amodal_perception_ros.simulation.rendering.camera_look import CameraLook
from amodal_perception_ros.simulation.sequence import SequenceRunner

CLEAN_LIDAR = {"range_noise": 0, "grazing_noise": 0, "dropout": 0, "backscatter": 0, "intensity_noise": 0, "rings": 32}
SCENES = ((23, "crossing", "rain"), (25, "parking_lot", "day"), (26, "suburban", "night"))


@dataclass
class Shot:
    """One camera of a scene: what the simulator says, and what the witness saw."""

    view: object
    next_view: object
    labels: np.ndarray
    depth: np.ndarray
    flow: np.ndarray
    next_labels: np.ndarray
    next_depth: np.ndarray
    seen: Seen

    @property
    def agrees(self):
        """Pixels in which both met the same surface of something."""
        near = np.abs(self.depth - self.seen_depth) < 1e-3 * self.seen_depth
        return (self.labels == self.seen_ids) & (self.labels > 0) & near

    @property
    def seen_ids(self):
        return self.seen.segment.reshape(self.labels.shape)

    @property
    def seen_depth(self):
        return self.seen.distance.reshape(self.labels.shape)


@dataclass
class Scene:
    """A frame of a sequence, the witness of it, its four shots and the sample made of it."""

    runner: SequenceRunner
    items: list
    witness: Witness
    shots: list
    sample: Sample


def make_scene(seed, layout, weather):
    config = SequenceConfig(seed, 2, 5.0, 384, 216, weather, 1, False, layout=layout, overrides={"lidar": CLEAN_LIDAR})
    runner = SequenceRunner(config)
    try:
        runner.prepare(1, runner.things_near(1))
        following = [runner.renderer.segments(view) for view in runner.views(1)]
        items = runner.prepare(0, runner.things_near(0))
        witness = Witness(runner.town.tiles, items)
        shots = [
            Shot(view, later, *runner.renderer.segments(view), runner.renderer.flow(view, later), *then,
                 witness.picture(view))
            for view, later, then in zip(runner.views(0), runner.views(1), following)
        ]  # fmt: skip
        return Scene(runner, items, witness, shots, runner.sample(0))
    finally:
        runner.release()


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(*scene) for scene in SCENES]


@pytest.fixture(scope="module")
def shots(scenes):
    return [shot for scene in scenes for shot in scene.shots]


def test_ids_agree_on_9999_of_10000_pixels(shots):
    wrong = sum(np.count_nonzero(shot.labels != shot.seen_ids) for shot in shots)
    assert wrong <= 1e-4 * sum(shot.labels.size for shot in shots)


def test_depth_agrees_within_a_ten_thousandth_and_has_no_bias(shots):
    error = []
    for shot in shots:
        both = (shot.labels == shot.seen_ids) & (shot.labels > 0)
        error.append((shot.depth / shot.seen_depth - 1)[both])
    error = np.concatenate(error)
    assert len(error) > 300_000
    assert np.quantile(np.abs(error), 0.999) < 1e-4
    assert abs(np.median(error)) < 1e-6
    assert abs(error[np.abs(error) < 1e-2].mean()) < 1e-5


def projected(view, points):
    """Return (n, 2) pixels and (n,) depth of odom points."""
    camera_from_odom = np.linalg.inv(view.odom_from_camera)
    p = points @ camera_from_odom[:3, :3].T + camera_from_odom[:3, 3]
    with np.errstate(all="ignore"):
        pixel = p[:, :2] / p[:, 2:] * np.diag(view.camera.intrinsics)[:2] + view.camera.intrinsics[:2, 2]
    return pixel, p[:, 2]


def pixel_centres(shape):
    rows, columns = np.indices(shape)
    return np.stack([columns, rows], -1) + 0.5


def test_flow_leads_to_the_place_of_the_same_surface_point_one_frame_later(shots):
    moved, lengths, worst = 0, [], []
    for shot in shots:
        pixel, depth = projected(shot.next_view, shot.seen.next_point)
        expected = pixel.reshape(shot.flow.shape) - pixel_centres(shot.labels.shape)
        depth = depth.reshape(shot.labels.shape)
        known = np.isfinite(shot.flow).all(-1)
        assert (known[shot.agrees] == (depth > 0.15)[shot.agrees]).mean() > 0.9999
        use = shot.agrees & known & (depth > 1)
        worst.append(np.abs(shot.flow - expected).max(-1)[use])
        lengths.append(np.linalg.norm(expected, axis=-1)[use])
        own = np.linalg.norm(shot.seen.next_point - shot.seen.point, axis=-1).reshape(shot.labels.shape)
        moved += np.count_nonzero(use & (own > 0.1))
    worst = np.concatenate(worst)
    assert np.quantile(np.concatenate(lengths), 0.9) > 1
    assert moved > 500
    assert np.quantile(worst, 0.999) < 0.02
    assert np.quantile(worst, 0.99999) < 0.5  # an outline may pass through a pixel


def test_flow_of_the_sky_is_the_rotation_of_the_camera(shots):
    far = 0
    for shot in shots:
        sky = shot.labels == 0
        k = shot.view.camera.intrinsics
        rays = np.dstack([pixel_centres(sky.shape), np.ones(sky.shape)])[sky] @ np.linalg.inv(k).T
        distant = 1e7 * rays @ shot.view.odom_from_camera[:3, :3].T + shot.view.odom_from_camera[:3, 3]
        pixel, _ = projected(shot.next_view, distant)
        assert shot.flow[sky] == pytest.approx(pixel - pixel_centres(sky.shape)[sky], abs=0.01)
        far += np.count_nonzero(sky)
    assert far > 1000


def test_flow_warps_ids_onto_the_next_frame_where_visible_in_both(shots):
    same = both = total = 0
    for shot in shots:
        height, width = shot.labels.shape
        target = np.floor(pixel_centres((height, width)) + np.nan_to_num(shot.flow, nan=-1e6)).astype(int)
        inside = ((target >= 0) & (target < (width, height))).all(-1) & shot.agrees
        column, row = target[inside].T
        depth = projected(shot.next_view, shot.seen.next_point)[1].reshape(height, width)[inside]
        visible = np.abs(shot.next_depth[row, column] / depth - 1) < 0.01
        same += np.count_nonzero((shot.next_labels[row, column] == shot.labels[inside])[visible])
        both, total = both + np.count_nonzero(visible), total + len(depth)
    assert both > 0.75 * total
    assert same > 0.995 * both


def test_lidar_points_lie_on_the_surface_whose_id_they_carry(scenes):
    for scene in scenes:
        sweep = scene.runner.sweep(0, scene.items)
        odom_from_lidar = scene.runner.poses[0] @ scene.runner.rig.base_from_lidar
        origin, points = odom_from_lidar[:3, 3], sweep.points[:, :3] @ odom_from_lidar[:3, :3].T
        seen = scene.witness.cast(origin, points)
        assert len(points) > 8_000
        assert np.mean(sweep.segments == seen.segment) > 0.9995
        right = sweep.segments == seen.segment
        assert np.quantile(np.abs(seen.distance[right] - 1), 0.999) < 1e-4
        assert len(np.unique(sweep.segments[sweep.segments % 1000 > 0])) >= 5
        for item in scene.items:
            mine = (points + origin)[sweep.segments == item.segment]
            local = (mine - item.matrix[:3, 3]) @ item.matrix[:3, :3]
            assert (local >= item.model.low - 0.01).all()
            assert (local <= item.model.high + 0.01).all()


def test_projected_boxes_contain_their_amodal_masks(scenes):
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    checked = 0
    for scene in scenes:
        objects = {o.track_id: o for o in scene.sample.objects}
        for shot in scene.shots:
            for instance in scene.sample.truth.cameras[shot.view.camera.name].instances:
                box = objects[instance.track_id]
                c, s = np.cos(box.yaw), np.sin(box.yaw)
                corners = signs * box.size / 2 @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + box.center
                pixel, depth = projected(shot.view, corners)
                if depth.min() > 0.15:
                    checked += assert_inside(instance.amodal_mask, cv2.convexHull(pixel.astype(np.float32))[:, 0])
    assert checked > 10_000


def assert_inside(mask, hull):
    """Assert that the pixel centres of a mask lie inside a convex polygon, within 0.05 px; return their number."""
    rows, columns = np.nonzero(mask.roi())
    points = np.stack([columns + mask.x_offset, rows + mask.y_offset], -1) + 0.5
    sides = np.roll(hull, -1, 0) - hull
    outwards = np.stack([sides[:, 1], -sides[:, 0]], -1) / (np.linalg.norm(sides, axis=1, keepdims=True) + 1e-9)
    middle = hull.mean(0)
    outwards *= np.sign(((hull - middle) * outwards).sum(1, keepdims=True))
    beyond = ((points[:, None] - hull) * outwards).sum(-1)
    assert beyond.max() < 0.05
    return len(points)


def test_visible_masks_lie_inside_the_amodal_masks_and_hidden_things_are_in_the_truth(scenes):
    hidden = 0
    for scene in scenes:
        for camera in scene.sample.truth.cameras.values():
            shown = set(np.unique(camera.labels[camera.labels % 1000 > 0]).tolist())
            assert shown == {i.instance_id for i in camera.instances if i.visible_mask.area}
            for instance in camera.instances:
                assert instance.visible_mask.is_subset_of(instance.amodal_mask)
                assert instance.amodal_mask.area > 0
                hidden += instance.visible_mask.area == 0
    assert hidden > 100


def test_levels_of_rendered_scenes_satisfy_their_definition(scenes):
    seen = set()
    for scene in scenes:
        for camera in scene.sample.truth.cameras.values():
            level = {i.instance_id: i.occlusion_level for i in camera.instances}
            fronts = {k: [-1] for k in level}
            for front, back in zip(camera.order.occluder_ids.tolist(), camera.order.occludee_ids.tolist()):
                fronts[back].append(level[front])
            assert all(level[k] == min(max(fronts[k]) + 1, 7) for k in level)
            seen |= set(level.values())
    assert seen == set(range(8))


# Pictures: what the flow says is what is seen to move

CLEAN_CAMERA = {k: v for k, v in asdict(CameraLook()).items() if k != "drops_seed"} | {"white_balance": 1}


@dataclass
class Pair:
    """Two pictures of a camera, the flow between them, and where both show the same surface, away from outlines."""

    picture: np.ndarray
    next_picture: np.ndarray
    flow: np.ndarray
    same: np.ndarray
    own_motion: np.ndarray

    def difference(self, flow, where):
        """Mean difference between this picture and the next one warped back [grey levels of 255]."""
        warped = warped_back(self.next_picture.astype(np.float32), flow, cv2.INTER_LINEAR)
        return float(np.abs(warped - self.picture)[where].mean())


def warped_back(image, flow, how):
    height, width = flow.shape[:2]
    return cv2.remap(image, (pixel_centres((height, width)) - 0.5 + flow).astype(np.float32), None, how, borderValue=-1)


def away_from_outlines(labels):
    ids, square = labels.astype(np.float32), np.ones((3, 3))
    return cv2.erode(ids, square) == cv2.dilate(ids, square)


def make_pair(runner, witness, view, next_view, next_picture, next_labels, next_depth):
    labels, _ = runner.renderer.segments(view)
    flow, seen = runner.renderer.flow(view, next_view), witness.picture(view)
    depth = projected(next_view, seen.next_point)[1].reshape(labels.shape)
    inner = np.where(away_from_outlines(next_labels), next_labels, 0).astype(np.float32)
    found = warped_back(inner, flow, cv2.INTER_NEAREST)
    visible = np.abs(warped_back(next_depth, flow, cv2.INTER_NEAREST) / depth - 1) < 0.01
    same = (labels > 0) & away_from_outlines(labels) & (found == labels) & visible & np.isfinite(flow).all(-1)
    own_motion = np.linalg.norm(seen.next_point - seen.point, axis=-1).reshape(labels.shape)
    return Pair(runner.renderer.picture(view, 0), next_picture, flow, same, own_motion)


@pytest.fixture(scope="module")
def pairs():
    overrides = {"camera": CLEAN_CAMERA, "traffic": {"ego_stands": 0}, "occlusion": {"designed": 0}}
    config = SequenceConfig(37, 2, 10.0, 256, 144, "overcast", 2, False, layout="straight", overrides=overrides)
    runner = SequenceRunner(config)
    try:
        assert runner.traffic.ego_speed[0] > 4
        runner.prepare(1, runner.things_near(1))
        following = [(v, runner.renderer.picture(v, 0), *runner.renderer.segments(v)) for v in runner.views(1)]
        witness = Witness(runner.town.tiles, runner.prepare(0, runner.things_near(0)))
        return [make_pair(runner, witness, view, *later) for view, later in zip(runner.views(0), following)]
    finally:
        runner.release()


def follows_the_picture(pair, flow, where):
    """Whether warping by a flow explains most of the change between the pictures, down to resampling and shading."""
    unwarped, warped = (pair.difference(f, where) for f in (np.zeros_like(flow), flow))
    return warped < 6 and warped < 0.4 * unwarped


def test_the_next_picture_warped_back_by_the_flow_is_this_picture(pairs):
    for pair in pairs:
        assert pair.same.mean() > 0.35
        assert np.median(np.linalg.norm(pair.flow, axis=-1)[pair.same]) > 2
        assert follows_the_picture(pair, pair.flow, pair.same)
        for wrong in (-pair.flow, pair.flow[..., ::-1], pair.flow / 2, pair.flow + 1):
            assert not follows_the_picture(pair, wrong, pair.same)


def test_pictures_of_moving_things_follow_their_flow(pairs):
    checked = 0
    for pair in pairs:
        mine = pair.same & (pair.own_motion > 0.2) & (np.linalg.norm(pair.flow, axis=-1) > 2)
        if mine.sum() > 1000:
            assert follows_the_picture(pair, pair.flow, mine)
            assert not follows_the_picture(pair, -pair.flow, mine)
            checked += 1
    assert checked >= 2
