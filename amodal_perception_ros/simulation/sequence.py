"""Runs a sequence: town, traffic, sensors and truth, frame by frame."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from amodal_perception_ros.scene import AmodalObject, CameraScene, Sample, SurroundFrame, SurroundScene
from amodal_perception_ros.simulation.assets.meshes import PALETTE_SIZE, Model
from amodal_perception_ros.simulation.config import SequenceConfig, Stream
from amodal_perception_ros.simulation.rendering.camera_look import CameraLook, draw_camera_look
from amodal_perception_ros.simulation.rendering.drawing import Item, SceneRenderer
from amodal_perception_ros.simulation.rendering.graphics import RendererError
from amodal_perception_ros.simulation.rendering.raycast_renderer import RaycastRenderer
from amodal_perception_ros.simulation.rendering.raycasting import RayCaster
from amodal_perception_ros.simulation.rendering.renderer import Renderer
from amodal_perception_ros.simulation.rendering.view import View
from amodal_perception_ros.simulation.sensing.bev_truth import BevTruth
from amodal_perception_ros.simulation.sensing.inertial import draw_datum, gnss_fixes, imu_readings
from amodal_perception_ros.simulation.sensing.lidar import LidarSensor, Sweep, draw_lidar
from amodal_perception_ros.simulation.sensing.rig import draw_rig
from amodal_perception_ros.simulation.sensing.truth import camera_truth
from amodal_perception_ros.simulation.town.signal_heads import SignalHead
from amodal_perception_ros.simulation.town.town import build_town
from amodal_perception_ros.simulation.traffic.contacts import contacts_of_outlines, contacts_of_things
from amodal_perception_ros.simulation.traffic.lights import lamps_around
from amodal_perception_ros.simulation.traffic.occlusion_design import design_occlusion
from amodal_perception_ros.simulation.traffic.things import REACH, Thing, pose_matrix
from amodal_perception_ros.simulation.traffic.traffic import build_traffic
from amodal_perception_ros.simulation.weather import Weather, draw_weather

MOVING_SPEED = 0.2
"""Faster things move, in the sense of motion segmentation [m/s]."""

FIRST_STAMP_NS = 1_000_000_000
GROUND_TRUTH = "ground truth"


def simulate(config: SequenceConfig) -> Iterator[Sample]:
    """Yield the samples of one sequence.

    Equal settings give bit-identical samples in every process on one machine and OpenGL driver. Depth is planar
    optical z; pixel (column i, row j) is sampled at (i + 0.5, j + 0.5) in the coordinates of `Camera.intrinsics`.
    Things within `REACH` of the ego vehicle are drawn and annotated.

    Raises:
        RendererError: OpenGL was asked for, and there is none on this machine.
    """
    runner = SequenceRunner(config)
    try:
        for index in range(config.frames):
            yield runner.sample(index)
    finally:
        runner.release()


def make_renderer(
    config: SequenceConfig, weather: Weather, look: CameraLook, tiles: Sequence[Model], caster: RayCaster
) -> SceneRenderer:
    """Return the renderer that `config.renderer` asks for; "auto" warns where it has to do without OpenGL.

    Raises:
        RendererError: "opengl" was asked for, and there is no off-screen OpenGL on this machine.
    """
    if config.renderer != "raycast":
        try:
            return Renderer(config.width, config.height, config.supersample, weather, tiles, look)
        except RendererError as error:
            if config.renderer == "opengl":
                raise
            warnings.warn(f"{error}. Until then pictures are ray cast, with plainer looks", stacklevel=2)
    return RaycastRenderer(config.width, config.height, weather, tiles, look, caster)


class SequenceRunner:
    """The parts of one sequence, ready to render any of its frames; `release` it afterwards.

    Raises:
        RendererError: OpenGL was asked for, and there is none on this machine.
    """

    def __init__(self, config: SequenceConfig) -> None:
        self.config = config
        self.town = build_town(config)
        self.traffic = build_traffic(config, self.town)
        self.weather = draw_weather(config)
        self.look = draw_camera_look(config)
        self._contacts = contacts_of_outlines([footprint.corners for footprint in self.town.footprints])
        self.rig = draw_rig(config)
        self.poses = np.array([pose_matrix(pose) for pose in self.traffic.ego])
        self.stamps = [FIRST_STAMP_NS + round(k * 1e9 / config.rate_hz) for k in range(config.frames)]
        self._imu = imu_readings(config, self.poses, self.stamps)
        self._gnss = gnss_fixes(config, draw_datum(config), self.poses[:-1, :3, 3], self.stamps)
        self.lidar = LidarSensor(draw_lidar(config), self.town.tiles, self.weather.fog, self.weather.wet)
        self.design = design_occlusion(self.traffic.population, self.traffic.ego, self.lidar.caster)
        self.renderer = make_renderer(config, self.weather, self.look, self.town.tiles, self.lidar.caster)
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
        """Hand a frame's things, traffic lights, shadows and lamps to the renderer; return what it draws."""
        ego, time = self.traffic.ego[index], float(self.traffic.times[index])
        items = [thing.item(index) for thing in things]
        items += [_lit(head, self.town.ways.signals[head.signal].state(time)) for head in self.town.signal_heads]
        contacts = np.concatenate([self._contacts, contacts_of_things(things, index)])
        lamps = lamps_around(self.town.lamps, self.weather, things, ego, index)
        self.renderer.begin(ego[:3], items, contacts, lamps)
        return items

    def views(self, index: int) -> list[View]:
        """Return the cameras at a frame; there is one pose more than frames."""
        return [View(camera, self.poses[index] @ camera.base_from_camera) for camera in self.rig.cameras]

    def sample(self, index: int) -> Sample:
        """Return one frame with its truth; frames are to be taken in order (`last_seen_ns` looks back)."""
        config, stamp, odom_from_base = self.config, self.stamps[index], self.poses[index]
        things = self.things_near(index)
        items, views, next_views = self.prepare(index, things), self.views(index), self.views(index + 1)
        images, scenes, flow = {}, {}, {}
        for k, (view, next_view) in enumerate(zip(views, next_views)):
            name = view.camera.name
            noise = config.stream(Stream.PICTURE_NOISE, index, k)
            images[name] = self.renderer.picture(view, seed=int(noise.integers(2**63)))
            scenes[name] = camera_truth(self.renderer, view, items, stamp)
            flow[name] = self.renderer.flow(view, next_view)
        sweep = self.sweep(index, items)
        stamps = dict.fromkeys(images, stamp)
        frame = SurroundFrame(stamp, self.rig, images, stamps, sweep.points, stamp, odom_from_base)
        sample = Sample(
            config.sequence_name,
            index,
            frame,
            SurroundScene(stamp, scenes, GROUND_TRUTH),
            self._objects(things, index, scenes, stamp),
            moving=frozenset(t.track_id for t in things if np.linalg.norm(t.velocity[index]) > MOVING_SPEED),
            flow=flow,
            point_segments=sweep.segments,
            point_rings=sweep.rings,
            imu=self._imu[index],
            gnss=self._gnss[index],
        )
        if self.bev is not None:
            odom_from_lidar = odom_from_base @ self.rig.base_from_lidar
            points = sweep.points[:, :3] @ odom_from_lidar[:3, :3].T + odom_from_lidar[:3, 3]
            sample.bev = self.bev.grid(
                stamp, odom_from_base[:2, 3], items, views, list(scenes.values()), odom_from_lidar[:3, 3], points
            )
            sample.bev_image, sample.bev_labels = self.bev.picture(odom_from_base[:2, 3], items)
        return sample

    def sweep(self, index: int, items: list[Item]) -> Sweep:
        """Return the LiDAR's sweep of a frame."""
        rng = self.config.stream(Stream.LIDAR_NOISE, index)
        return self.lidar.sweep(self.poses[index] @ self.rig.base_from_lidar, items, rng)

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


def _lit(head: SignalHead, state: str) -> Item:
    return Item(head.models[state], head.matrix, np.zeros((PALETTE_SIZE, 3)))
