"""Small drawn scenes with exact truth: flat-coloured rectangles at known depths before road, building and sky."""

import numpy as np

from amodal_perception_ros.labels import THINGS
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import (
    Camera,
    CameraScene,
    Instance,
    OcclusionOrder,
    Rig,
    Sample,
    SurroundFrame,
    SurroundScene,
)

OPTICAL_FROM_BODY = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
BODY_FROM_OPTICAL = np.linalg.inv(OPTICAL_FROM_BODY)


def toy_camera(name="front", width=128, height=96, focal=64.0):
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return Camera(name, width, height, intrinsics, BODY_FROM_OPTICAL)


def draw_scene(camera, rectangles, stamp_ns=0):
    """Draw (class number 0..6, depth, left, top, right, bottom) rectangles; nearer ones hide farther ones."""
    height, width = camera.height, camera.width
    image = np.full((height, width, 3), (120, 160, 220), np.uint8)
    labels = np.full((height, width), 23000, np.uint16)
    depth = np.full((height, width), np.nan, np.float32)
    third = height // 3
    image[third : 2 * third], labels[third : 2 * third], depth[third : 2 * third] = (90, 80, 70), 11000, 40.0
    rows = np.arange(2 * third, height)
    image[2 * third :], labels[2 * third :] = (60, 60, 60), 7000
    depth[2 * third :] = (1.6 * camera.intrinsics[1, 1] / (rows + 0.5 - height / 2))[:, None]
    order = sorted(range(len(rectangles)), key=lambda i: -rectangles[i][1])
    full = {}
    for number in order:
        kind, z, left, top, right, bottom = rectangles[number]
        mask = np.zeros((height, width), bool)
        mask[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
        full[number] = mask
        image[mask] = np.array(THINGS[kind].color) // 2 + 60 + 7 * (number % 5)
        labels[mask] = THINGS[kind].id * 1000 + number + 1
        depth[mask] = z
    instances = [_instance(labels, full[i], rectangles[i], i, full, rectangles) for i in range(len(rectangles))]
    return image, CameraScene(camera, stamp_ns, labels, depth, instances, _order(instances, rectangles))


def _instance(labels, mask, rectangle, number, full, rectangles):
    kind, z = rectangle[:2]
    segment = THINGS[kind].id * 1000 + number + 1
    amodal = RoiMask.from_array(mask)
    patch = np.where(amodal.roi(), np.float32(z), np.float32(np.nan))
    visible = RoiMask.from_array(labels == segment)
    level = _level(number, full, rectangles)
    return Instance(segment, THINGS[kind].id, 1.0, visible, amodal, level, z, z, 0.0, patch, number + 1)


def _level(number, full, rectangles):
    nearer = [i for i in full if rectangles[i][1] < rectangles[number][1] and (full[i] & full[number]).any()]
    return min(7, 1 + max(_level(i, full, rectangles) for i in nearer)) if nearer else 0


def _order(instances, rectangles):
    edges = [
        (a.instance_id, b.instance_id, a.amodal_mask.intersection_area(b.amodal_mask))
        for i, a in enumerate(instances)
        for j, b in enumerate(instances)
        if rectangles[i][1] < rectangles[j][1] and a.amodal_mask.intersection_area(b.amodal_mask)
    ]
    columns = list(zip(*edges)) or [(), (), ()]
    return OcclusionOrder(
        np.array(columns[0], np.uint32),
        np.array(columns[1], np.uint32),
        np.ones(len(edges), np.float32),
        np.array(columns[2], np.uint32),
        np.zeros(len(edges), bool),
    )


def random_rectangles(rng, camera, count=5):
    """Return rectangles of random class, depth and place; far ones are smaller and overlaps are common."""
    out = []
    for _ in range(count):
        z = float(rng.uniform(4, 25))
        scale = camera.intrinsics[0, 0] / z
        width, height = max(8, int(rng.uniform(1, 4) * scale)), max(8, int(rng.uniform(1.4, 3) * scale))
        left = int(rng.uniform(-4, camera.width - width))
        bottom = int(camera.height / 2 + 1.6 * scale)
        out.append((int(rng.integers(0, 7)), z, left, bottom - height, left + width, min(bottom, camera.height)))
    return out


def toy_sample(seed, cameras=("front", "back"), width=128, height=96, sequence="toy", index=0, count=5):
    """Return a sample of random rectangles with a LiDAR that sees the front camera's depth."""
    rng = np.random.default_rng((seed, index))
    images, scenes, rig_cameras = {}, {}, []
    for name in cameras:
        camera = toy_camera(name, width, height, width / 2)
        rig_cameras.append(camera)
        images[name], scenes[name] = draw_scene(camera, random_rectangles(rng, camera, count))
    rig = Rig(tuple(rig_cameras))
    frame = SurroundFrame(index * 100_000_000, rig, images, lidar=_lidar(scenes[cameras[0]]))
    return Sample(sequence, index, frame, SurroundScene(frame.stamp_ns, scenes, "ground truth"))


def _lidar(scene):
    camera, step = scene.camera, 3
    rows, columns = np.mgrid[1 : camera.height : step, 1 : camera.width : step]
    z = scene.depth[rows, columns]
    seen = np.isfinite(z)
    k, z = camera.intrinsics, z[seen]
    x = (columns[seen] + 0.5 - k[0, 2]) / k[0, 0] * z
    y = (rows[seen] + 0.5 - k[1, 2]) / k[1, 1] * z
    points = np.stack([x, y, z, np.ones_like(z)], 1) @ camera.base_from_camera.T
    return np.concatenate([points[:, :3], np.ones((len(points), 1))], 1).astype(np.float32)
