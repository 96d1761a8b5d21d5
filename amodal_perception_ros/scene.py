"""The nouns of the system: what the sensors deliver (`SurroundFrame`) and what was perceived (`SurroundScene`).

Conventions (REP-103): body frames are x forward, y left, z up; optical frames are z forward, x right, y down.
A transform `a_from_b` is a 4 x 4 float64 matrix that maps points of frame b into frame a. Depth is the planar
optical z in metres; NaN is unknown. Stamps are integer nanoseconds of the sensor's clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, SEGMENT_FACTOR, ClassList
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.trajectory import Trajectory

OCCLUSION_LEVELS = 8
"""N of AmodalSynthDrive: relative occlusion levels 0..7."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A rectified pinhole camera on the rig.

    Attributes:
        name: role of the camera, e.g. "front".
        width, height: image size in pixels.
        intrinsics: (3, 3) float64 camera matrix K in pixels; all NaN when unknown.
        base_from_camera: (4, 4) float64 pose of the optical frame in base_link; all NaN when unknown.
    """

    name: str
    width: int
    height: int
    intrinsics: np.ndarray
    base_from_camera: np.ndarray

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"camera '{self.name}': image size {self.width} x {self.height} is not positive")
        _require_shape(f"camera '{self.name}': intrinsics", self.intrinsics, (3, 3))
        _require_shape(f"camera '{self.name}': base_from_camera", self.base_from_camera, (4, 4))
        if self.is_calibrated and not (self.intrinsics[0, 0] > 0 and self.intrinsics[1, 1] > 0):
            raise ValueError(f"camera '{self.name}': focal lengths must be positive, K = {self.intrinsics.tolist()}")

    @classmethod
    def uncalibrated(cls, name: str, width: int, height: int) -> Camera:
        """Return a camera of which only the image size is known."""
        return cls(name, width, height, np.full((3, 3), np.nan), np.full((4, 4), np.nan))

    @property
    def is_calibrated(self) -> bool:
        """Whether the camera matrix is known."""
        return not np.isnan(self.intrinsics).all()


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras and LiDAR rigidly mounted on one vehicle; the order of cameras is the batch order."""

    cameras: tuple[Camera, ...]
    base_from_lidar: np.ndarray = field(default_factory=lambda: np.eye(4))

    def __post_init__(self) -> None:
        names = [camera.name for camera in self.cameras]
        if len(set(names)) != len(names):
            raise ValueError(f"camera names must be unique, got {names}")

    def camera(self, name: str) -> Camera:
        """Return the camera of that name; raises KeyError naming the known ones."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise KeyError(f"no camera '{name}' on this rig; cameras: {[c.name for c in self.cameras]}")


@dataclass(eq=False)
class SurroundFrame:
    """One synchronized set of sensor data: the input of the system.

    Attributes:
        stamp_ns: reference time (the LiDAR's if it is there, else the first camera's).
        rig: calibration of the sensors.
        images: camera name -> (H, W, 3) uint8 RGB; a missing camera is absent.
        image_stamps_ns: camera name -> stamp of its image.
        lidar: (N, 4) float32 x, y, z, intensity in the LiDAR frame, or None.
        lidar_stamp_ns: stamp of the sweep, or None.
        odom_from_base: (4, 4) float64 pose of base_link in odom at `stamp_ns`, or None.
        odom_stamp_ns: stamp of the odometry behind that pose; None where the pose is of `stamp_ns` itself.
        missing: names of expected sensors that the set lacks.
        lidar_times_s: (N,) float32 when each point was measured, after `lidar_stamp_ns` [s]; None where unknown.
        trajectory: the vehicle's motion around `stamp_ns`, in the clock of `stamp_ns`, which
            `motion_compensation.compensate` uses up; None takes all sensors as simultaneous.
        clock_offsets_ns: sensor ("lidar" or a camera) -> by how much its stamps run ahead of the clock of `stamp_ns`;
            0 where absent.
    """

    stamp_ns: int
    rig: Rig
    images: dict[str, np.ndarray]
    image_stamps_ns: dict[str, int] = field(default_factory=dict)
    lidar: np.ndarray | None = None
    lidar_stamp_ns: int | None = None
    odom_from_base: np.ndarray | None = None
    missing: tuple[str, ...] = ()
    odom_stamp_ns: int | None = None
    lidar_times_s: np.ndarray | None = None
    trajectory: Trajectory | None = None
    clock_offsets_ns: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, image in self.images.items():
            camera = self.rig.camera(name)
            if image.shape != (camera.height, camera.width, 3) or image.dtype != np.uint8:
                raise ValueError(
                    f"image of camera '{name}' is {image.dtype} {image.shape}, but its calibration is for "
                    f"uint8 {(camera.height, camera.width, 3)}"
                )
        if self.lidar is not None and (self.lidar.ndim != 2 or self.lidar.shape[1] != 4):
            raise ValueError(f"LiDAR points are (N, 4) x, y, z, intensity; got {self.lidar.shape}")
        if self.lidar_times_s is not None and (self.lidar is None or self.lidar_times_s.shape != self.lidar.shape[:1]):
            raise ValueError(f"LiDAR times need one value a point; got {self.lidar_times_s.shape}")


@dataclass(eq=False)
class Instance:
    """One thing seen by one camera, with its hidden part.

    Attributes:
        instance_id: segment id `class id * 1000 + number`, unique in this camera and stamp; the value of the
            object's visible pixels in `CameraScene.labels`.
        class_id: id in the class list of the scene (Cityscapes' in AmodalSynthDrive's, see `labels`).
        score: confidence in [0, 1]; 1 for ground truth.
        visible_mask, amodal_mask: visible is a subset of amodal.
        occlusion_level: 0..7, the longest chain of occluders in front (AmodalSynthDrive, section 3).
        visible_depth: median planar depth of the visible part [m], NaN when nothing is visible.
        amodal_depth: median planar depth of the whole object [m].
        amodal_depth_stddev: standard deviation of `amodal_depth` [m], NaN unknown.
        depth: (h, w) float32 planar depth [m] over the ROI of `amodal_mask`, NaN outside that mask.
        track_id: 0 when untracked.
    """

    instance_id: int
    class_id: int
    score: float
    visible_mask: RoiMask
    amodal_mask: RoiMask
    occlusion_level: int
    visible_depth: float
    amodal_depth: float
    amodal_depth_stddev: float
    depth: np.ndarray
    track_id: int = 0

    def __post_init__(self) -> None:
        if not self.visible_mask.is_subset_of(self.amodal_mask):
            raise ValueError(f"instance {self.instance_id}: the visible mask leaves the amodal mask")
        expected = (self.amodal_mask.height, self.amodal_mask.width)
        _require_shape(f"instance {self.instance_id}: depth", self.depth, expected)

    @property
    def hidden_mask(self) -> RoiMask:
        """The occluded part: amodal minus visible."""
        return self.amodal_mask - self.visible_mask

    @property
    def occlusion_ratio(self) -> float:
        """1 - |visible| / |amodal| in [0, 1]; NaN for an empty amodal mask."""
        area = self.amodal_mask.area
        return float("nan") if area == 0 else 1.0 - self.visible_mask.area / area


@dataclass(eq=False)
class OcclusionOrder:
    """Directed edges "occluder hides part of occludee" between instances of one camera.

    Attributes:
        occluder_ids, occludee_ids: (E,) uint32 instance ids.
        probability: (E,) float32 confidence of the edge in [0, 1].
        overlap_px: (E,) uint32 pixels in which the two amodal masks overlap.
        in_cycle: (E,) bool, the edge's direction was decided by median depth to break a cycle.
    """

    occluder_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    occludee_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    probability: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    overlap_px: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    in_cycle: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.occluder_ids)


@dataclass(eq=False)
class CameraScene:
    """Everything perceived in one image.

    Attributes:
        camera: calibration of the image.
        stamp_ns: the image's stamp.
        labels: (H, W) uint16 visible panoptic segments `class id * 1000 + number`, 0 unlabelled; all 0 where a data
            set annotates objects only.
        depth: (H, W) float32 visible planar depth [m], NaN unknown.
        instances: the things, hidden parts included; fully hidden ones appear in ground truth only.
        order: occlusion order among `instances`.
        classes: what class ids mean.
    """

    camera: Camera
    stamp_ns: int
    labels: np.ndarray
    depth: np.ndarray
    instances: list[Instance] = field(default_factory=list)
    order: OcclusionOrder = field(default_factory=OcclusionOrder)
    classes: ClassList = AMODAL_SYNTH_DRIVE

    def __post_init__(self) -> None:
        shape = (self.camera.height, self.camera.width)
        _require_shape(f"camera '{self.camera.name}': labels", self.labels, shape)
        _require_shape(f"camera '{self.camera.name}': depth", self.depth, shape)
        for instance in self.instances:
            label = self.classes.by_id.get(instance.class_id)
            if label is None or not label.is_thing:
                raise ValueError(
                    f"camera '{self.camera.name}': instance {instance.instance_id} has the class id "
                    f"{instance.class_id}, which is no thing of {self.classes.name}"
                )

    def instance(self, instance_id: int) -> Instance:
        """Return the instance with that id; raises KeyError."""
        for instance in self.instances:
            if instance.instance_id == instance_id:
                return instance
        raise KeyError(f"no instance {instance_id} in camera '{self.camera.name}'")

    def depth_levels(self, levels: int = OCCLUSION_LEVELS) -> np.ndarray:
        """Rebuild the amodal depth maps {D_0..D_N-1} of the AmodalSynthDrive task (section 3.4).

        D_0 holds the visible depth of all stuff and the whole depth of unoccluded objects; D_n holds the whole
        depth (hidden part included) of the objects of occlusion level n.

        Returns:
            (levels, H, W) float32 planar depth [m], NaN where a level has no surface.
        """
        height, width = self.depth.shape
        maps = np.full((levels, height, width), np.nan, np.float32)
        stuff = self.labels % SEGMENT_FACTOR == 0
        maps[0][stuff] = self.depth[stuff]
        for instance in self.instances:
            level = maps[min(instance.occlusion_level, levels - 1)]
            paste_nearest(level, instance.depth, instance.amodal_mask.x_offset, instance.amodal_mask.y_offset)
        return maps


def paste_nearest(depth: np.ndarray, patch: np.ndarray, x_offset: int, y_offset: int) -> None:
    """Write a (h, w) depth patch [m, NaN unknown] into a (H, W) map in place; the nearer value wins."""
    height, width = depth.shape
    top, left = max(0, y_offset), max(0, x_offset)
    bottom, right = min(height, y_offset + patch.shape[0]), min(width, x_offset + patch.shape[1])
    if top < bottom and left < right:
        target = depth[top:bottom, left:right]
        source = patch[top - y_offset : bottom - y_offset, left - x_offset : right - x_offset]
        np.fmin(target, source, out=target)


class Evidence(IntEnum):
    """Why a BEV cell holds its value; REMEMBERED is every known cell, occupied or free, not decided in this set."""

    UNKNOWN = 0
    LIDAR = 1
    CAMERA = 2
    AMODAL_INFERRED = 3
    REMEMBERED = 4


class SourceStatus(IntEnum):
    """State of one sensor in a synchronized set."""

    OK = 0
    LATE = 1
    MISSING = 2


@dataclass(frozen=True)
class Source:
    """One sensor's contribution to a BEV grid: its name, status and age [ns] against the grid's stamp."""

    name: str
    status: SourceStatus
    age_ns: int


@dataclass(eq=False)
class BevOccupancy:
    """Bird's-eye-view occupancy, axis-aligned in the odom frame.

    Row-major from the cell at the origin: row index grows with y, column index with x (as
    nav_msgs/OccupancyGrid). The origin is the lower-left corner of cell (0, 0), snapped to the resolution.

    Attributes:
        stamp_ns: reference stamp of the set.
        resolution: cell size [m].
        origin: (x, y) of the lower-left corner [m] in odom.
        visible: (rows, columns) int8 occupancy 0..100 % from what was seen, -1 unknown.
        amodal: (rows, columns) int8 the same with the inferred hidden parts of objects.
        semantic: (rows, columns) uint8 class id of the occupying object or surface, 0 unknown.
        evidence: (rows, columns) uint8 `Evidence`.
        z_min, z_max: height band [m] above the local ground (without a LiDAR: in base_link) that counts as an obstacle.
        sources: the sensors behind the grid.
    """

    stamp_ns: int
    resolution: float
    origin: tuple[float, float]
    visible: np.ndarray
    amodal: np.ndarray
    semantic: np.ndarray
    evidence: np.ndarray
    z_min: float
    z_max: float
    sources: tuple[Source, ...] = ()


UNKNOWN_VARIANCE = -1.0
"""Entry on the diagonal of a pose's covariance that says "unknown", as in the messages."""


def isotropic_covariance(position_stddev: float) -> np.ndarray:
    """Return the (6, 6) covariance of a pose with that standard deviation of x, y and z [m] (NaN unknown), no more."""
    known = np.isfinite(position_stddev)
    variances = [position_stddev**2 if known else UNKNOWN_VARIANCE] * 3 + [UNKNOWN_VARIANCE] * 3
    return np.diag(np.array(variances, np.float64))


def largest_stddev(covariance: np.ndarray) -> float:
    """Return the standard deviation [m] in the worst horizontal direction of a (6, 6) covariance, NaN unknown."""
    xx, xy, yy = (float(value) for value in (covariance[0, 0], covariance[0, 1], covariance[1, 1]))
    if xx < 0 or yy < 0:
        return math.nan
    return math.sqrt((xx + yy) / 2 + math.hypot((xx - yy) / 2, xy))


@dataclass(eq=False)
class AmodalObject:
    """A thing as an upright 3-D box in odom, hidden part included.

    Attributes:
        track_id: 0 when untracked.
        class_id: Cityscapes id.
        existence_probability: in [0, 1].
        center: (3,) float64 centre of the box [m].
        size: (3,) float64 length, width, height [m].
        yaw: heading about z [rad].
        velocity: (3,) float64 [m/s], NaN unknown.
        position_stddev: standard deviation of the centre in the horizontal direction in which it is largest [m].
        visible_fraction: visible share of the amodal mask in [0, 1].
        cameras: cameras that see it; empty for a fully hidden object.
        last_seen_ns: stamp of the last set in which a part of it was visible.
        covariance: (6, 6) float64 of the pose: x, y, z of the centre, roll, pitch, yaw (modulo half a turn where front
            and back are not told apart) [m^2, rad^2]; -1 on the diagonal is unknown (`UNKNOWN_VARIANCE`). By default
            that of `position_stddev` in all directions, the angles unknown.
        size_stddev: (3,) float64 standard deviation of the size [m], NaN unknown.
        yaw_rate: turn rate about z [rad/s], NaN unknown.
    """

    track_id: int
    class_id: int
    existence_probability: float
    center: np.ndarray
    size: np.ndarray
    yaw: float
    velocity: np.ndarray
    position_stddev: float
    visible_fraction: float
    cameras: tuple[str, ...]
    last_seen_ns: int
    covariance: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    size_stddev: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    yaw_rate: float = math.nan

    def __post_init__(self) -> None:
        if not self.covariance.size:
            self.covariance = isotropic_covariance(self.position_stddev)
        _require_shape(f"object {self.track_id}: covariance", self.covariance, (6, 6))

    @property
    def hidden(self) -> bool:
        """Whether no camera sees any part of it."""
        return not self.cameras


@dataclass(eq=False)
class SurroundScene:
    """Everything perceived in one synchronized set: the output of the network's side of the system.

    Attributes:
        stamp_ns: reference stamp of the set.
        cameras: camera name -> scene, in the rig's order; missing cameras are absent.
        model_id: name of the weights ("ground truth" for the simulator's).
        timings_ms: stage -> milliseconds.
        uncompensated: sensor -> why the vehicle's motion between its stamp and the set's was not compensated.
    """

    stamp_ns: int
    cameras: dict[str, CameraScene]
    model_id: str = ""
    timings_ms: dict[str, float] = field(default_factory=dict)
    uncompensated: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ImuReading:
    """An inertial measurement in base_link (sensor_msgs/Imu's conventions).

    Attributes:
        stamp_ns: its stamp.
        orientation: (4,) quaternion x, y, z, w of base_link in odom.
        angular_velocity: (3,) [rad/s].
        linear_acceleration: (3,) specific force [m/s^2]: +9.81 on z at rest.
    """

    stamp_ns: int
    orientation: np.ndarray
    angular_velocity: np.ndarray
    linear_acceleration: np.ndarray


@dataclass(frozen=True)
class GnssFix:
    """A satellite position (WGS 84) of base_link.

    Attributes:
        stamp_ns: its stamp.
        latitude, longitude: [degrees].
        altitude: above the ellipsoid [m].
        stddev: standard deviation of each axis [m].
    """

    stamp_ns: int
    latitude: float
    longitude: float
    altitude: float
    stddev: float


@dataclass(eq=False)
class Sample:
    """One annotated frame of a data set: sensor data and ground truth.

    Attributes:
        sequence: name of the sequence.
        index: number of the frame in its sequence, from 0.
        frame: the sensor data.
        truth: per-camera truth; fully hidden instances are included (empty visible mask).
        objects: every thing near the rig as a 3-D box in odom; `track_id` is unique in the sequence and
            `segment = class id * 1000 + track_id` is the object's instance id in every camera.
        bev: true occupancy (`amodal` holds the hidden area too), or None.
        moving: track ids of the things that move (amodal motion segmentation: their amodal masks); None unknown.
        flow: camera name -> (H, W, 2) float32 forward optical flow (right, down) [px] to the next frame; NaN unknown.
        point_segments: (N,) uint16 segment id of the surface behind every LiDAR point, or None.
        point_rings: (N,) uint8 ring of every LiDAR point, counted from the lowest, or None.
        bev_image: (h, w, 3) uint8 RGB picture from straight above, row 0 at the greatest y of `bev`'s area, or None.
        bev_labels: (h, w) uint16 segments of that picture as seen from above, or None.
        imu, gnss: readings at the frame's stamp, or None.
    """

    sequence: str
    index: int
    frame: SurroundFrame
    truth: SurroundScene
    objects: list[AmodalObject] = field(default_factory=list)
    bev: BevOccupancy | None = None
    moving: frozenset[int] | None = None
    flow: dict[str, np.ndarray] = field(default_factory=dict)
    point_segments: np.ndarray | None = None
    point_rings: np.ndarray | None = None
    bev_image: np.ndarray | None = None
    bev_labels: np.ndarray | None = None
    imu: ImuReading | None = None
    gnss: GnssFix | None = None


def _require_shape(what: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{what} must have shape {shape}, got {array.shape}")
