"""Bird's-eye-view occupancy in odom: what was seen, and with it what must be there although nobody sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from amodal_perception_ros.fusion.footprint import hidden_occupancy, remembered_occupancy
from amodal_perception_ros.fusion.geometry import (
    MAX_DEPTH,
    MIN_DEPTH,
    CameraCloud,
    compensated,
    lidar_in_base,
    lift_pixels,
    require_pose,
    see_cloud,
)
from amodal_perception_ros.fusion.grid import RollingGrid, percent
from amodal_perception_ros.fusion.ground import height_over_ground
from amodal_perception_ros.fusion.lidar import GridFrame, cast, make_scan
from amodal_perception_ros.fusion.objects import PlacedObject, place
from amodal_perception_ros.fusion.sources import SourceTable
from amodal_perception_ros.fusion.tracks import TrackConfig, Tracker
from amodal_perception_ros.fusion.visibility import SensorViews
from amodal_perception_ros.labels import BY_NAME, LABELS, SEGMENT_FACTOR
from amodal_perception_ros.motion_compensation import VehicleOutline
from amodal_perception_ros.scene import (
    AmodalObject,
    BevOccupancy,
    CameraScene,
    Evidence,
    SurroundFrame,
    SurroundScene,
)

_IS_GROUND = np.zeros(256, bool)
_IS_GROUND[[BY_NAME[name].id for name in ("road", "sidewalk", "terrain")]] = True
_SKY = BY_NAME["sky"].id
_RANK = np.zeros(256, np.uint8)  # of two classes in one cell the higher rank stays: things over stuff
_RANK[[label.id for label in LABELS]] = [label.index for label in LABELS]


@dataclass(frozen=True)
class BevConfig:
    """Extent, resolution and behaviour of the grid.

    Attributes:
        extent_m: side of the square around the vehicle [m].
        resolution_m: cell size [m].
        z_min, z_max: heights over the ground that count as an obstacle [m].
        sectors: angular bins of the ray casting.
        lidar_hit: probability that a cell with a LiDAR return in the height band is occupied; the complement is
            that of a free cell.
        camera_hit: the same for visible depth from a camera.
        camera_range_m: farthest planar camera depth that is used [m].
        camera_stddev_m: objects placed less exactly than this mark no visible cells [m].
        seen_memory_s, inferred_memory_s: time constants with which seen and inferred occupancy fade [s].
        jump_m, max_speed: the pose may move by jump_m + max_speed * elapsed between sets; more is a jump [m, m/s].
        late_ms: a sensor this far from the set's stamp is reported as late [ms].
        ego_length_m, ego_width_m, ego_center_x_m: rectangle in base_link whose returns are the vehicle's own [m].
    """

    extent_m: float = 80.0
    resolution_m: float = 0.2
    z_min: float = 0.2
    z_max: float = 2.5
    sectors: int = 720
    lidar_hit: float = 0.9
    camera_hit: float = 0.7
    camera_range_m: float = 30.0
    camera_stddev_m: float = 1.0
    seen_memory_s: float = 2.0
    inferred_memory_s: float = 0.5
    jump_m: float = 5.0
    max_speed: float = 70.0
    late_ms: float = 100.0
    ego_length_m: float = 5.0
    ego_width_m: float = 2.2
    ego_center_x_m: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.resolution_m < self.extent_m or not 2 <= self.size <= 4000:
            raise ValueError(
                f"a grid of {self.extent_m} m with cells of {self.resolution_m} m needs 2..4000 cells a side"
            )
        if not self.z_min < self.z_max:
            raise ValueError(f"z_min {self.z_min} m must be below z_max {self.z_max} m")
        if self.sectors < 8:
            raise ValueError(f"sectors is {self.sectors}; it must be at least 8")
        for name in ("lidar_hit", "camera_hit"):
            if not 0.5 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0.5 and 1")
        for name in ("seen_memory_s", "inferred_memory_s", "camera_range_m", "jump_m"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")

    @property
    def size(self) -> int:
        """Cells per side."""
        return round(self.extent_m / self.resolution_m)

    @property
    def outline(self) -> VehicleOutline:
        """The vehicle's own rectangle."""
        return VehicleOutline(self.ego_length_m, self.ego_width_m, self.ego_center_x_m)


class BevMapper:
    """Keeps the occupancy around the vehicle from set to set. Deterministic; not thread-safe.

    Args:
        config: extent, resolution and behaviour.
        sensors: names of the sensors that `BevOccupancy.sources` lists (cameras, "lidar", "odometry"); None lists the
            cameras of each frame's rig, a LiDAR and odometry.
        track_config: behaviour of the tracks.

    Attributes:
        config: as given.
        resets: number of times that the memory was dropped, by cause ("odometry jump", "time jump").
        objects: the tracks as of the last set, in odom; those that no camera sees any more included.
    """

    def __init__(
        self,
        config: BevConfig | None = None,
        sensors: Sequence[str] | None = None,
        track_config: TrackConfig | None = None,
    ) -> None:
        self.config = config or BevConfig()
        self.resets: Counter[str] = Counter()
        self.objects: list[AmodalObject] = []
        self._memory = RollingGrid(self.config.size, self.config.resolution_m)
        self._tracker = Tracker(track_config)
        self._sources = SourceTable(round(self.config.late_ms * 1e6), sensors)
        self._last: tuple[int, np.ndarray] | None = None

    def update(self, frame: SurroundFrame, scene: SurroundScene) -> BevOccupancy:
        """Take one set, compensated for motion or not yet, and return the grid at its stamp.

        Instances of the scene without a track id get that of their track.

        Raises:
            FusionError: the set has no odometry, or its pose is not finite or not rigid. The memory is unchanged.
        """
        pose = require_pose(frame.odom_from_base, frame.stamp_ns)
        elapsed_s = self._elapsed(frame.stamp_ns, pose)
        grid = self._memory.move_to(pose[0, 3], pose[1, 3])
        self._memory.fade(elapsed_s, self.config.seen_memory_s, self.config.inferred_memory_s)
        frame, scene = compensated(frame, scene, self.config.outline)
        points = lidar_in_base(frame)
        clouds = see_cloud(points, scene)
        placed = place(scene, points, clouds)
        views = SensorViews(frame, scene, points, pose)
        self._tracker.update(placed, pose, frame.stamp_ns, elapsed_s, views)
        self.objects = [track.to_object() for track in self._tracker.tracks]
        evidence = np.zeros((grid.size, grid.size), np.uint8)
        glimpsed = np.zeros((grid.size, grid.size), bool)
        lidar_used = points is not None and len(points) > 0
        if points is not None and lidar_used:
            glimpsed = self._observe_lidar(points, clouds, scene, frame, pose, evidence)
            self._observe_objects(placed, pose, evidence)
        else:
            for camera_scene in scene.cameras.values():
                self._observe_camera(camera_scene, pose, evidence)
        self._infer(placed, pose, evidence, glimpsed)
        return self._grid(frame, evidence, lidar_used)

    def _elapsed(self, stamp_ns: int, pose: np.ndarray) -> float:
        """Seconds since the last set; forgets everything when time or the pose has jumped."""
        last, self._last = self._last, (stamp_ns, pose)
        if last is None:
            return 0.0
        elapsed = (stamp_ns - last[0]) * 1e-9
        moved = float(np.linalg.norm(pose[:3, 3] - last[1][:3, 3]))
        if elapsed < 0:
            self._forget("time jump")
        elif moved > self.config.jump_m + self.config.max_speed * elapsed:
            self._forget("odometry jump")
        return max(0.0, elapsed)

    def _forget(self, cause: str) -> None:
        self.resets[cause] += 1
        self._memory.clear()
        self._tracker.clear()

    @property
    def dropped_tracks(self) -> int:
        """Number of tracks that were given up because there were too many."""
        return self._tracker.dropped

    @property
    def _frame(self) -> GridFrame:
        assert self._memory.frame is not None
        return self._memory.frame

    def _observe_lidar(
        self,
        points: np.ndarray,
        clouds: dict[str, CameraCloud],
        scene: SurroundScene,
        frame: SurroundFrame,
        pose: np.ndarray,
        evidence: np.ndarray,
    ) -> np.ndarray:
        """Record the LiDAR's cells; returns those whose ground it only glimpsed (`lidar.Cells`)."""
        classes = np.zeros(len(points), np.uint8)
        for name in scene.cameras:
            cloud = clouds[name]
            classes[cloud.index] = np.maximum(classes[cloud.index], (cloud.segment // SEGMENT_FACTOR).astype(np.uint8))
        outside = ~self.config.outline.holds(points)
        points, classes = points[outside], classes[outside]
        points[:, 2] = height_over_ground(points, self.config.z_min)
        sensor = frame.rig.base_from_lidar[:3, 3]
        scan, odom = make_scan(points, sensor, pose, self.config.z_min, self.config.z_max)
        cells = cast(scan, self._frame, self.config.sectors)
        free = cells.free | cells.glimpsed
        self._record(free, cells.occupied, self.config.lidar_hit, Evidence.LIDAR, evidence)
        self._name(odom, scan.obstacle, classes, free, cells.occupied)
        return cells.glimpsed

    def _observe_objects(self, placed: list[PlacedObject], pose: np.ndarray, evidence: np.ndarray) -> None:
        """Mark the visible surface of objects in cells that the LiDAR did not decide."""
        sure = [one.evidence for one in placed if one.evidence.stddev <= self.config.camera_stddev_m]
        if not sure:
            return
        points = np.concatenate([one.points[one.visible] for one in sure])
        classes = np.concatenate([np.full(int(one.visible.sum()), one.class_id, np.uint8) for one in sure])
        scan, odom = make_scan(points, np.zeros(3), pose, self.config.z_min, self.config.z_max)
        occupied = self._frame.mask(odom[scan.obstacle]) & (evidence == Evidence.UNKNOWN)
        free = np.zeros_like(occupied)
        self._record(free, occupied, self.config.camera_hit, Evidence.CAMERA, evidence)
        self._name(odom, scan.obstacle, classes, free, occupied)

    def _observe_camera(self, scene: CameraScene, pose: np.ndarray, evidence: np.ndarray) -> None:
        """Without a LiDAR: the visible depth of one camera as a scan; surfaces labelled as ground are ground."""
        points, classes = _visible_surface(scene, self.config.camera_range_m)
        outside = ~self.config.outline.holds(points)
        points, classes = points[outside], classes[outside]
        ground = _IS_GROUND[classes]
        points[ground, 2] = np.minimum(points[ground, 2], self.config.z_min - 1e-3)
        sensor = scene.camera.base_from_camera[:3, 3]
        scan, odom = make_scan(points, sensor, pose, self.config.z_min, self.config.z_max)
        cells = cast(scan, self._frame, self.config.sectors)
        fresh = evidence == Evidence.UNKNOWN
        free, occupied = (cells.free | cells.glimpsed) & fresh, cells.occupied & fresh
        self._record(free, occupied, self.config.camera_hit, Evidence.CAMERA, evidence)
        self._name(odom, scan.obstacle, classes, free, occupied)

    def _record(
        self, free: np.ndarray, occupied: np.ndarray, hit: float, source: Evidence, evidence: np.ndarray
    ) -> None:
        memory = self._memory
        memory.observe(free, occupied, float(logit(hit)))
        evidence[free | occupied] = source
        is_ground = _IS_GROUND[memory.semantic]
        memory.semantic[(free & ~is_ground) | (occupied & is_ground)] = 0

    def _name(
        self, odom: np.ndarray, obstacle: np.ndarray, classes: np.ndarray, free: np.ndarray, occupied: np.ndarray
    ) -> None:
        """Write classes into cells: obstacles into occupied cells, ground surfaces into free ones."""
        cells = self._frame.flat_index(odom)
        wanted = np.where(obstacle, occupied.ravel()[cells], free.ravel()[cells]) & (cells >= 0)
        wanted &= (classes != 0) & (classes != _SKY) & (_IS_GROUND[classes] != obstacle)
        cells, classes = cells[wanted], classes[wanted]
        order = np.argsort(_RANK[classes], kind="stable")
        self._memory.semantic.ravel()[cells[order]] = classes[order]

    def _infer(self, placed: list[PlacedObject], pose: np.ndarray, evidence: np.ndarray, glimpsed: np.ndarray) -> None:
        """Fill the footprints of objects into cells that no sensor has decided in this set.

        Ground glimpsed behind an obstacle does not decide a cell: a LiDAR looks under vehicles. Objects that were not
        detected in this set are remembered where their tracks take them.
        """
        undecided = (evidence == Evidence.UNKNOWN) | glimpsed
        lost = [track for track in self._tracker.tracks if track.detection is None]
        for (probability, classes), source in (
            (remembered_occupancy(lost, self._frame), Evidence.REMEMBERED),
            (hidden_occupancy(placed, self._frame, pose), Evidence.AMODAL_INFERRED),
        ):
            now, memory = (probability > 0) & undecided, self._memory
            memory.inferred[now] = np.maximum(memory.inferred[now], logit(probability[now]))
            memory.semantic[now] = classes[now]
            evidence[now] = source

    def _grid(self, frame: SurroundFrame, evidence: np.ndarray, lidar_used: bool) -> BevOccupancy:
        memory, config = self._memory, self.config
        seen, inferred = memory.seen != 0, memory.inferred > 0
        known = seen | inferred
        evidence[known & (evidence == Evidence.UNKNOWN)] = Evidence.REMEMBERED
        memory.semantic[~known] = 0
        return BevOccupancy(
            stamp_ns=frame.stamp_ns,
            resolution=config.resolution_m,
            origin=self._frame.origin,
            visible=percent(memory.seen, seen),
            amodal=percent(np.where(inferred, np.maximum(memory.seen, memory.inferred), memory.seen), known),
            semantic=memory.semantic.copy(),
            evidence=evidence,
            z_min=config.z_min,
            z_max=config.z_max,
            sources=self._sources.update(frame, lidar_used),
        )


def _visible_surface(scene: CameraScene, max_depth: float) -> tuple[np.ndarray, np.ndarray]:
    """Sample a camera's visible depth: (N, 3) float32 base_link points and (N,) uint8 class ids, without the sky.

    Pixels at depth steps are left out: a network's depth leaks there from one surface to the other.
    """
    step = max(1, scene.camera.width // 128)
    depth = scene.depth
    rows = np.arange(0, depth.shape[0] - 1, step)
    columns = np.arange(0, depth.shape[1] - 1, step)
    here = depth[np.ix_(rows, columns)]
    beside, below = depth[np.ix_(rows, columns + 1)], depth[np.ix_(rows + 1, columns)]
    classes = (scene.labels[np.ix_(rows, columns)] // SEGMENT_FACTOR).astype(np.uint8)
    step_free = np.maximum(np.abs(beside - here), np.abs(below - here)) < 0.1 * here  # False for NaN
    usable = step_free & (here > MIN_DEPTH) & (here < min(max_depth, MAX_DEPTH)) & (classes != _SKY)
    row, column = np.nonzero(usable)
    return lift_pixels(scene.camera, columns[column], rows[row], here[usable]), classes[usable]
