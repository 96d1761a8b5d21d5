"""Which sensors stand behind a grid, and how old their data is."""

from __future__ import annotations

from collections.abc import Sequence

from amodal_perception_ros.scene import Source, SourceStatus, SurroundFrame


class SourceTable:
    """Status and age of every expected sensor, remembered from set to set.

    Args:
        late_ns: a sensor this far from the set's stamp is late [ns].
        sensors: names of the expected sensors (cameras, "lidar", "odometry"), so that one that never came is missed
            from the first set on; None expects the cameras of the frame's rig, a LiDAR and odometry.
    """

    def __init__(self, late_ns: int, sensors: Sequence[str] | None = None) -> None:
        self._late_ns = late_ns
        self._sensors = sensors
        self._last: dict[str, int] = {}

    def update(self, frame: SurroundFrame, lidar_used: bool) -> tuple[Source, ...]:
        """Return the sources of a set: the expected sensors in order.

        The age is the set's stamp minus the sensor's (negative when the sensor's is later). A missing sensor's age
        counts from its last contribution, or from the first set when there was none.
        """
        stamps = {name: frame.image_stamps_ns.get(name, frame.stamp_ns) for name in frame.images}
        if lidar_used:
            stamps["lidar"] = frame.stamp_ns if frame.lidar_stamp_ns is None else frame.lidar_stamp_ns
        if frame.odom_from_base is not None:
            stamps["odometry"] = frame.stamp_ns if frame.odom_stamp_ns is None else frame.odom_stamp_ns
        names = self._sensors or (*(camera.name for camera in frame.rig.cameras), "lidar", "odometry")
        return tuple(self._source(name, stamps.get(name), frame.stamp_ns) for name in names)

    def _source(self, name: str, stamp: int | None, now: int) -> Source:
        if stamp is None:
            last = self._last.setdefault(name, now)
            if last > now:  # time has jumped back
                last = self._last[name] = now
            return Source(name, SourceStatus.MISSING, now - last)
        self._last[name] = stamp
        late = abs(now - stamp) > self._late_ns
        return Source(name, SourceStatus.LATE if late else SourceStatus.OK, now - stamp)
