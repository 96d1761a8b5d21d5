"""Runs a sequence: town, traffic, sensors and truth, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from amodal_perception_ros.scene import AmodalObject, Camera, CameraScene, Rig, Sample, SurroundFrame, SurroundScene
from amodal_perception_ros.simulation.bev_truth import BevTruth
from amodal_perception_ros.simulation.config import SequenceConfig
from amodal_perception_ros.simulation.drawing import Item
from amodal_perception_ros.simulation.lidar import RayCaster, scan
from amodal_perception_ros.simulation.renderer import Renderer
from amodal_perception_ros.simulation.things import BIKE, PERSON, RIDER, Thing
from amodal_perception_ros.simulation.town import Town, build_town
from amodal_perception_ros.simulation.traffic import build_traffic
from amodal_perception_ros.simulation.truth import camera_truth
from amodal_perception_ros.simulation.view import View, camera_pose
from amodal_perception_ros.simulation.weather import Weather, draw_weather

REACH = 80.0
"""Things farther than this from the ego vehicle are neither drawn nor annotated [m]."""

CAMERA_YAWS = {"front": 0.0, "right": -90.0, "back": 180.0, "left": 90.0}
FIRST_STAMP_NS = 1_000_000_000
GROUND_TRUTH = "ground truth"


def simulate(config: SequenceConfig) -> Iterator[Sample]:
    """Yield the samples of one sequence.

    Equal settings give bit-identical samples in every process on one machine and OpenGL driver. Depth is planar
    optical z; pixel (column i, row j) is sampled at (i + 0.5, j + 0.5) in the coordinates of `Camera.intrinsics`.
    Things within `REACH` of the ego vehicle are drawn and annotated.

    Raises:
        RendererError: no off-screen OpenGL on this machine.
    """
    runner = SequenceRunner(config)
    try:
        for index in range(config.frames):
            yield runner.sample(index)
    finally:
        runner.release()


def draw_rig(config: SequenceConfig) -> Rig:
    """Return the sensor rig of a sequence: cameras front, right, back and left, and the LiDAR in the middle.

    Field of view, heights and pitch are drawn from the section `rig` of the distributions.
    """
    rng, draw = config.stream(4), config.distributions.draw
    fov = 90.0 if draw(rng, "rig.square_fov") else draw(rng, "rig.fov")
    height, pitch = draw(rng, "rig.camera_height"), np.radians(draw(rng, "rig.camera_pitch"))
    focal = config.width / 2 / np.tan(np.radians(fov) / 2)
    intrinsics = np.array([[focal, 0, config.width / 2], [0, focal, config.height / 2], [0, 0, 1.0]])
    places = {"front": (0.8, 0.0), "right": (0.0, -0.5), "back": (-0.8, 0.0), "left": (0.0, 0.5)}
    cameras = []
    for name, yaw in CAMERA_YAWS.items():
        pose = camera_pose(np.array([*places[name], height]), np.radians(yaw), pitch)
        cameras.append(Camera(name, config.width, config.height, intrinsics.copy(), pose))
    base_from_lidar = np.eye(4)
    base_from_lidar[:3, 3] = (0.0, 0.0, draw(rng, "rig.lidar_height"))
    return Rig(tuple(cameras), base_from_lidar)


def _pose_matrix(pose: np.ndarray) -> np.ndarray:
    x, y, z, yaw = pose
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1.0]])


class SequenceRunner:
    """The parts of one sequence, ready to render any of its frames; `release` it afterwards.

    Raises:
        RendererError: no off-screen OpenGL on this machine.
    """

    def __init__(self, config: SequenceConfig) -> None:
        self.config = config
        self.town = build_town(config)
        self.traffic = build_traffic(config, self.town)
        self.weather = draw_weather(config)
        self.rig = draw_rig(config)
        self.caster = RayCaster(self.town.tiles)
        self.renderer = Renderer(config.width, config.height, config.supersample, self.weather, self.town.tiles)
        self.bev = BevTruth(self.renderer, self.town.tiles, self.town.footprints) if config.bev else None
        self._last_seen: dict[int, int] = {}

    def release(self) -> None:
        """Free the renderer's memory."""
        self.renderer.release()

    def things_near(self, index: int) -> list[Thing]:
        """Return the things within `REACH` of the ego vehicle at a frame."""
        ego = self.traffic.ego[index]
        return [t for t in self.traffic.things if np.hypot(*(t.poses[index, :2] - ego[:2])) < REACH]

    def prepare(self, index: int, things: list[Thing]) -> list[Item]:
        """Hand a frame's things, shadows and lights to the renderer; return what it draws."""
        ego = self.traffic.ego[index]
        items = [_item(thing, index) for thing in things]
        footprints = np.array([_footprint(thing, index) for thing in things]).reshape(-1, 7)
        self.renderer.begin(ego[:2], items, footprints, _lamps(self.town, self.weather, things, ego, index))
        return items

    def views(self, index: int) -> list[View]:
        """Return the cameras at a frame."""
        odom_from_base = _pose_matrix(self.traffic.ego[index])
        return [View(camera, odom_from_base @ camera.base_from_camera) for camera in self.rig.cameras]

    def sample(self, index: int) -> Sample:
        """Return one frame with its truth; frames are to be taken in order (`last_seen_ns` looks back)."""
        config, ego = self.config, self.traffic.ego[index]
        stamp = FIRST_STAMP_NS + round(index * 1e9 / config.rate_hz)
        things = self.things_near(index)
        items, views = self.prepare(index, things), self.views(index)
        images, scenes = {}, {}
        for k, view in enumerate(views):
            name = view.camera.name
            images[name] = self.renderer.picture(view, seed=config.seed * 7919 + index * 4 + k)
            scenes[name] = camera_truth(self.renderer, view, items, stamp)
        odom_from_base = _pose_matrix(ego)
        odom_from_lidar = odom_from_base @ self.rig.base_from_lidar
        rng = np.random.default_rng([config.seed, 5, index])
        cloud = scan(self.caster, odom_from_lidar, items, rng, self.weather.fog)
        frame = SurroundFrame(stamp, self.rig, images, dict.fromkeys(images, stamp), cloud, stamp, odom_from_base)
        bev = None
        if self.bev is not None:
            world = cloud[:, :3] @ odom_from_lidar[:3, :3].T + odom_from_lidar[:3, 3]
            bev = self.bev.grid(stamp, ego[:2], items, views, list(scenes.values()), odom_from_lidar[:3, 3], world)
        objects = self._objects(things, index, scenes, stamp)
        truth = SurroundScene(stamp, scenes, GROUND_TRUTH)
        return Sample(config.sequence_name, index, frame, truth, objects, bev)

    def _objects(
        self, things: list[Thing], index: int, scenes: dict[str, CameraScene], stamp: int
    ) -> list[AmodalObject]:
        seen: dict[int, list[tuple[str, int, int]]] = {}
        for name, scene in scenes.items():
            for instance in scene.instances:
                area = (name, instance.visible_mask.area, instance.amodal_mask.area)
                seen.setdefault(instance.track_id, []).append(area)
        out = []
        for thing in things:
            areas = seen.get(thing.track_id, [])
            cameras = tuple(name for name, visible, _ in areas if visible)
            if cameras:
                self._last_seen[thing.track_id] = stamp
            total = sum(amodal for _, _, amodal in areas)
            share = sum(visible for _, visible, _ in areas) / total if total else 0.0
            matrix = thing.matrix(index)
            center = matrix[:3, :3] @ (0.5 * (thing.low + thing.high)).astype(float) + matrix[:3, 3]
            yaw = float((thing.poses[index, 3] + np.pi) % (2 * np.pi) - np.pi)
            out.append(
                AmodalObject(
                    thing.track_id, thing.class_id, 1.0, center, (thing.high - thing.low).astype(float), yaw,
                    thing.velocity[index].copy(), 0.0, float(share), cameras, self._last_seen.get(thing.track_id, 0),
                )
            )  # fmt: skip
        return out


def _item(thing: Thing, index: int) -> Item:
    look = (thing.track_id * 0.6180339887) % 1.0
    return Item(thing.model(index), thing.matrix(index), thing.palette, thing.segment, thing.lights, look)


def _footprint(thing: Thing, index: int) -> tuple[float, ...]:
    x, y, _, yaw = thing.poses[index]
    size = 0.5 * (thing.high - thing.low)
    strength = 0.55 if thing.class_id in (PERSON, RIDER, BIKE) else 0.95
    return x, y, np.cos(yaw), np.sin(yaw), size[0] * 0.92, size[1] * 0.85, strength


def _lamps(town: Town, weather: Weather, things: list[Thing], ego: np.ndarray, index: int) -> np.ndarray:
    """The nearest street lamps, the ego's headlights and those of the nearest moving vehicles, as (n, 8)."""
    if not weather.lamps:
        return np.zeros((0, 8))
    heading = np.array([np.cos(ego[3]), np.sin(ego[3])])
    near = np.argsort(np.hypot(*(town.lamps[:, :2] - ego[:2] - 8 * heading).T))[:9]
    out = [(*town.lamps[k], 34.0, 0.0, 0.0, -1.0, 0.25) for k in near]
    beams = [(ego[:2], ego[3], 2.2, 60.0)]
    lit = [t for t in things if t.lights and t.class_id not in (RIDER, BIKE)]
    lit.sort(key=lambda t: float(np.hypot(*(t.poses[index, :2] - ego[:2]))))
    beams += [(t.poses[index, :2], t.poses[index, 3], float(t.high[0]) + 0.1, 45.0) for t in lit[:3]]
    for position, yaw, front, power in beams:
        ahead, aside = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
        for side in (-0.6, 0.6):
            x, y = position + ahead * front + aside * side
            out.append((x, y, 0.7, power, 0.985 * ahead[0], 0.985 * ahead[1], -0.06, 0.85))
    return np.array(out)
