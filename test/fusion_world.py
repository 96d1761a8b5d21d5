"""A small exact world for fusion tests: boxes on a plane, traced analytically by cameras and a LiDAR."""

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import Camera, CameraScene, Instance, Rig, SurroundFrame, SurroundScene

ROAD, SKY, BUILDING = (BY_NAME[name].id for name in ("road", "sky", "building"))
OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
YAWS = {"front": 0.0, "right": -np.pi / 2, "back": np.pi, "left": np.pi / 2}
LIDAR_HEIGHT = 1.9


@dataclass(frozen=True)
class Box:
    """An upright box standing on the ground of base_link; number 0 makes it stuff."""

    name: str
    x: float
    y: float
    size: tuple[float, float, float]
    yaw: float = 0.0
    number: int = 0

    @property
    def class_id(self):
        return BY_NAME[self.name].id

    @property
    def segment(self):
        return self.class_id * 1000 + self.number


def rig(width=256, height=144, cameras=tuple(YAWS)):
    built = []
    for name in cameras:
        yaw = YAWS[name]
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        pose = np.eye(4)
        pose[:3, :3] = turn @ OPTICAL
        pose[:3, 3] = turn @ (0.5, 0.0, 1.5)
        k = np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1.0]])
        built.append(Camera(name, width, height, k, pose))
    lidar = np.eye(4)
    lidar[2, 3] = LIDAR_HEIGHT
    return Rig(tuple(built), lidar)


def trace(box, origin, directions):
    """Distance in units of the directions to an upright box, inf where missed."""
    cos, sin = np.cos(box.yaw), np.sin(box.yaw)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    start = turn @ (origin - np.array([box.x, box.y, box.size[2] / 2]))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = 1.0 / (directions @ turn.T)
        first = (-np.array(box.size) / 2 - start) * slope
        second = (np.array(box.size) / 2 - start) * slope
    near, far = np.minimum(first, second).max(1), np.maximum(first, second).min(1)
    return np.where((near <= far) & (near > 0), near, np.inf)


def trace_ground(origin, directions):
    with np.errstate(divide="ignore"):
        return np.where(directions[:, 2] < 0, -origin[2] / directions[:, 2], np.inf)


def camera_scene(camera, boxes, stamp_ns=0, stddev=0.0):
    rows, columns = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    k = camera.intrinsics
    rays = np.stack([(columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1], np.ones_like(rows)], -1).reshape(-1, 3)
    directions, origin = rays @ camera.base_from_camera[:3, :3].T, camera.base_from_camera[:3, 3]
    distances = np.array([trace_ground(origin, directions)] + [trace(box, origin, directions) for box in boxes])
    shape = (camera.height, camera.width)
    owner = distances.argmin(0)
    depth = distances.min(0)
    segments = np.array([ROAD * 1000] + [box.segment for box in boxes], np.uint16)
    labels = np.where(np.isinf(depth), SKY * 1000, segments[owner]).reshape(shape).astype(np.uint16)
    instances = []
    for number, box in enumerate(boxes, 1):
        amodal = np.isfinite(distances[number]).reshape(shape)
        if box.number and amodal.any():
            visible = amodal & (owner == number).reshape(shape)
            instances.append(make_instance(box, amodal, visible, distances[number].reshape(shape), stddev))
    depth = np.where(np.isinf(depth), np.nan, depth).reshape(shape).astype(np.float32)
    return CameraScene(camera, stamp_ns, labels, depth, instances)


def make_instance(box, amodal, visible, depth, stddev=0.0, score=1.0):
    mask = RoiMask.from_array(amodal)
    left, top, right, bottom = mask.box
    patch = np.where(amodal, depth, np.nan)[top:bottom, left:right].astype(np.float32)
    seen = float(np.median(depth[visible])) if visible.any() else float("nan")
    return Instance(
        instance_id=box.segment,
        class_id=box.class_id,
        score=score,
        visible_mask=RoiMask.from_array(visible),
        amodal_mask=mask,
        occlusion_level=int(visible.sum() < amodal.sum()),
        visible_depth=seen,
        amodal_depth=float(np.median(depth[amodal])),
        amodal_depth_stddev=stddev,
        depth=patch,
    )


def sweep(boxes, channels=32, columns=1024, max_range=80.0):
    azimuth = (np.arange(columns) + 0.5) / columns * 2 * np.pi
    elevation = np.deg2rad(np.linspace(-25, 5, channels))
    e, a = np.meshgrid(elevation, azimuth, indexing="ij")
    directions = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], -1).reshape(-1, 3)
    origin = np.array([0, 0, LIDAR_HEIGHT])
    reach = np.min([trace_ground(origin, directions)] + [trace(box, origin, directions) for box in boxes], 0)
    hit = reach < max_range
    points = directions[hit] * reach[hit, None]
    return np.column_stack([points, np.full(len(points), 0.5)]).astype(np.float32)


def pose(x=0.0, y=0.0, yaw=0.0):
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:2, 3] = x, y
    return matrix


def observe(boxes, odom_from_base=None, stamp_ns=10**9, lidar=True, stddev=0.0, cameras=tuple(YAWS), **lidar_shape):
    """Frame and true scene of boxes given in base_link."""
    setup = rig(cameras=cameras)
    images = {camera.name: np.zeros((camera.height, camera.width, 3), np.uint8) for camera in setup.cameras}
    frame = SurroundFrame(
        stamp_ns=stamp_ns,
        rig=setup,
        images=images,
        lidar=sweep(boxes, **lidar_shape) if lidar else None,
        odom_from_base=pose() if odom_from_base is None else odom_from_base,
    )
    scenes = {camera.name: camera_scene(camera, boxes, stamp_ns, stddev) for camera in setup.cameras}
    return frame, SurroundScene(stamp_ns, scenes)
