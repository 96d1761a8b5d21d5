"""Hand-made annotated samples for tests: boxes at known depths in front of a flat background."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.labels import THINGS
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import (
    AmodalObject,
    BevOccupancy,
    Camera,
    CameraScene,
    GnssFix,
    ImuReading,
    Instance,
    OcclusionOrder,
    Rig,
    Sample,
    Source,
    SourceStatus,
    SurroundFrame,
    SurroundScene,
)

BASE_FROM_OPTICAL = np.array([[0.0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 1.6], [0, 0, 0, 1]])


def make_rig(width: int = 96, height: int = 64, names: tuple[str, ...] = ("front", "right")) -> Rig:
    cameras = []
    for number, name in enumerate(names):
        angle = -np.pi / 2 * number
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        k = np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]])
        cameras.append(Camera(name, width, height, k, turn @ BASE_FROM_OPTICAL))
    lidar = np.eye(4)
    lidar[:3, 3] = [0.0, 0.0, 1.8]
    return Rig(tuple(cameras), lidar)


def make_scene(camera: Camera, stamp_ns: int, rng: np.random.Generator, things: int = 6) -> CameraScene:
    """Slanted boxes; some leave the image; the last one stands wholly behind the first."""
    height, width = camera.height, camera.width
    labels = np.full((height, width), 23000, np.uint16)
    labels[height // 2 :] = 7000
    depth = np.full((height, width), np.nan, np.float32)
    depth[height // 2 :] = 40.0
    drawn = []
    for number in range(things):
        w, h = (int(rng.integers(4, max(5, side // 2))) for side in (width, height))
        x, y = int(rng.integers(-w // 2, width - w // 2)), int(rng.integers(-h // 2, height - h // 2))
        near = float(rng.uniform(3.0, 35.0))
        if number == things - 1:
            x, y, w, h = drawn[0][1] + 1, drawn[0][2] + 1, max(1, drawn[0][3] - 2), max(1, drawn[0][4] - 2)
            near = 38.0
        class_id = THINGS[number % len(THINGS)].id
        drawn.append((class_id * 1000 + number + 1, x, y, w, h, near))
    patches = [near + np.linspace(0.0, 0.5, w, dtype=np.float32)[None].repeat(h, 0) for *_, w, h, near in drawn]
    for (segment, x, y, w, h, _), patch in sorted(zip(drawn, patches), key=lambda p: -p[0][-1]):
        left, top, right, bottom = max(0, x), max(0, y), min(width, x + w), min(height, y + h)
        if left < right and top < bottom:
            labels[top:bottom, left:right] = segment
            depth[top:bottom, left:right] = patch[top - y : bottom - y, left - x : right - x]
    amodal = [RoiMask.from_array(np.ones((h, w), bool), x, y) for _, x, y, w, h, _ in drawn]
    edges = [
        (i, j, amodal[i].intersection_area(amodal[j]))
        for i in range(things)
        for j in range(things)
        if drawn[i][-1] < drawn[j][-1] and amodal[i].intersection_area(amodal[j])
    ]
    levels = [0] * things
    for j in sorted(range(things), key=lambda n: drawn[n][-1]):
        levels[j] = min(7, max((levels[i] + 1 for i, k, _ in edges if k == j), default=0))
    instances = []
    for number, (segment, *_) in enumerate(drawn):
        visible = RoiMask.from_array(labels == segment)
        seen = depth[labels == segment]
        instances.append(
            Instance(
                segment,
                segment // 1000,
                1.0,
                visible,
                amodal[number],
                levels[number],
                float(np.median(seen)) if seen.size else float("nan"),
                float(np.median(patches[number])),
                float("nan"),
                patches[number],
                segment % 1000,
            )
        )
    order = OcclusionOrder(
        np.array([drawn[i][0] for i, _, _ in edges], np.uint32),
        np.array([drawn[j][0] for _, j, _ in edges], np.uint32),
        np.ones(len(edges), np.float32),
        np.array([area for _, _, area in edges], np.uint32),
        np.arange(len(edges)) % 3 == 0,
    )
    return CameraScene(camera, stamp_ns, labels, depth, instances, order)


def make_sample(index: int, seed: int = 0, rig: Rig | None = None, sequence: str = "made", things: int = 6) -> Sample:
    rng = np.random.default_rng([seed, index])
    rig = rig or make_rig()
    stamp = 1_000_000_000 + index * 100_000_000
    images, stamps, scenes = {}, {}, {}
    for number, camera in enumerate(rig.cameras):
        rows, columns = np.mgrid[: camera.height, : camera.width]
        picture = np.stack([rows * 2, columns * 2, np.full_like(rows, 40 * number + index)], -1)
        images[camera.name] = np.clip(picture, 0, 255).astype(np.uint8)
        stamps[camera.name] = stamp + 1000 * number
        scenes[camera.name] = make_scene(camera, stamp + 1000 * number, rng, things)
    pose = np.eye(4)
    yaw = 0.05 * index
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:3, 3] = [0.8 * index, 0.1, 0.0]
    lidar = np.column_stack([rng.uniform(-60, 60, (200, 3)), rng.uniform(0, 1, 200)]).astype(np.float32)
    frame = SurroundFrame(stamp, rig, images, stamps, lidar, stamp, pose)
    return Sample(
        sequence,
        index,
        frame,
        SurroundScene(stamp, scenes, "ground truth"),
        [make_object(stamp)],
        make_bev(stamp),
        moving=frozenset(range(1, things, 2)),
        flow={camera.name: make_flow(camera, rng) for camera in rig.cameras},
        point_segments=rng.choice(np.array([7000, 23000, 26003, 24001, 0], np.uint16), len(lidar)),
        point_rings=np.arange(len(lidar), dtype=np.uint8) % 32,
        bev_image=np.full((20, 30, 3), (20 + index, 90, 160), np.uint8),
        bev_labels=rng.choice(np.array([7000, 8000, 26003], np.uint16), (20, 30)),
        imu=ImuReading(
            stamp,
            np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]),
            np.array([0.01, -0.02, 0.5]),
            np.array([0.1, 0.4, 9.81]),
        ),
        gnss=GnssFix(stamp, 48.0137 + 1e-5 * index, 7.8314, 270.25, 1.5),
    )


def make_flow(camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """A zoom with a noisy patch, unknown in the first rows."""
    rows, columns = np.mgrid[: camera.height, : camera.width].astype(np.float32)
    flow = np.stack([0.1 * (columns - camera.width / 2), 0.1 * (rows - camera.height / 2)], -1)
    flow[10:20, 10:20] += rng.uniform(-300, 300, (10, 10, 2)).astype(np.float32)
    flow[:4] = np.nan
    return flow


def make_object(stamp_ns: int) -> AmodalObject:
    return AmodalObject(
        track_id=3,
        class_id=26,
        existence_probability=1.0,
        center=np.array([10.25, -3.5, 0.75]),
        size=np.array([4.5, 1.9, 1.5]),
        yaw=0.3,
        velocity=np.array([1.0, np.nan, 0.0]),
        position_stddev=0.0,
        visible_fraction=0.5,
        cameras=("front",),
        last_seen_ns=stamp_ns,
    )


def make_bev(stamp_ns: int) -> BevOccupancy:
    rng = np.random.default_rng(stamp_ns % 1000)
    visible = rng.integers(-1, 101, (20, 30)).astype(np.int8)
    amodal = rng.integers(-1, 101, (20, 30)).astype(np.int8)
    semantic = rng.choice(np.array([0, 7, 26], np.uint8), (20, 30))
    evidence = rng.integers(0, 5, (20, 30)).astype(np.uint8)
    sources = (Source("lidar", SourceStatus.OK, 0), Source("right", SourceStatus.LATE, 1000))
    return BevOccupancy(stamp_ns, 0.5, (-7.5, 2.0), visible, amodal, semantic, evidence, 0.2, 2.5, sources)
