"""From scenes to messages and back: this package's messages and their standard twins.

Arrays go into messages as `array.array`: assigning a numpy array to a field makes rclpy check every element in
Python, which costs 400 times as much.

A consumer decodes what it received with `scene_from_messages`, `bev_from_message` and `objects_from_message`.
"""

from __future__ import annotations

import math
from array import array

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose, Vector3
from nav_msgs.msg import MapMetaData, OccupancyGrid
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

import amodal_perception_ros.msg as messages
from amodal_perception_ros.labels import BY_ID
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.ros.sensor_conversions import (
    NANOSECONDS,
    ConversionError,
    camera_from_info,
    image_to_array,
    ns_to_stamp,
    stamp_to_ns,
)
from amodal_perception_ros.scene import (
    AmodalObject,
    BevOccupancy,
    CameraScene,
    Instance,
    OcclusionOrder,
    Source,
    SourceStatus,
    largest_stddev,
)

_IMAGE_ENCODINGS = {("uint16", 2): "16UC1", ("float32", 2): "32FC1", ("uint8", 3): "rgb8"}
_DECIDED_BY_DEPTH = np.float32(0.5)
"""Probability in a message of an edge that was decided by depth to break a cycle, and of no other edge."""


def make_header(stamp_ns: int, frame_id: str) -> Header:
    """Return a header with a sensor's stamp [ns] and a frame."""
    return Header(stamp=ns_to_stamp(stamp_ns), frame_id=frame_id)


def flat_array(typecode: str, values: np.ndarray) -> array:
    """Return the values as the flat `array.array` of that typecode, which rclpy takes as it is."""
    out = array(typecode)
    out.frombytes(np.ascontiguousarray(values, dtype=np.dtype(typecode)).reshape(-1).view(np.uint8).data)
    return out


def image_to_message(pixels: np.ndarray, header: Header) -> Image:
    """Return (H, W) uint16 as 16UC1, (H, W) float32 as 32FC1 or (H, W, 3) uint8 as rgb8.

    Raises:
        ValueError: another type or shape.
    """
    encoding = _IMAGE_ENCODINGS.get((pixels.dtype.name, pixels.ndim))
    if encoding is None or (encoding == "rgb8" and pixels.shape[2] != 3):
        raise ValueError(f"no image encoding for {pixels.dtype} of shape {pixels.shape}")
    height, width = pixels.shape[:2]
    step = width * pixels.itemsize * (pixels.shape[2] if pixels.ndim == 3 else 1)
    message = Image(header=header, height=height, width=width, encoding=encoding, step=step, is_bigendian=0)
    message.data = flat_array("B", np.ascontiguousarray(pixels).reshape(-1).view(np.uint8))
    return message


def mask_to_message(mask: RoiMask) -> messages.AmodalMask:
    """Return a mask as a message; it is already run-length encoded."""
    return messages.AmodalMask(
        x_offset=mask.x_offset,
        y_offset=mask.y_offset,
        width=mask.width,
        height=mask.height,
        counts=flat_array("I", mask.counts),
    )


def mask_from_message(message: messages.AmodalMask) -> RoiMask:
    """Return the mask of a message; raises ConversionError (bad_mask) when the run lengths do not fill the ROI."""
    counts = np.array(message.counts, np.uint32)
    try:
        return RoiMask(message.x_offset, message.y_offset, message.width, message.height, counts)
    except ValueError as error:
        raise ConversionError("bad_mask", str(error)) from error


def scene_to_panoptic(scene: CameraScene, header: Header, model_id: str) -> messages.AmodalPanoptic:
    """Return labels, instances and occlusion order of one image; `header` is the image's."""
    return messages.AmodalPanoptic(
        header=header,
        camera_name=scene.camera.name,
        height=scene.camera.height,
        width=scene.camera.width,
        labels=image_to_message(scene.labels.astype(np.uint16, copy=False), header),
        instances=[_instance_to_message(instance) for instance in scene.instances],
        order=_order_to_message(scene.order),
        model_id=model_id,
    )


def scene_to_depth(scene: CameraScene, header: Header) -> messages.AmodalDepth:
    """Return visible depth and one depth patch per instance of one image; `header` is the image's."""
    patches = [
        messages.AmodalDepthPatch(
            instance_id=instance.instance_id,
            occlusion_level=instance.occlusion_level,
            x_offset=instance.amodal_mask.x_offset,
            y_offset=instance.amodal_mask.y_offset,
            depth=image_to_message(instance.depth.astype(np.float32, copy=False), header),
        )
        for instance in scene.instances
    ]
    depth = image_to_message(scene.depth.astype(np.float32, copy=False), header)
    return messages.AmodalDepth(header=header, camera_name=scene.camera.name, visible_depth=depth, patches=patches)


def _instance_to_message(instance: Instance) -> messages.AmodalInstance:
    return messages.AmodalInstance(
        instance_id=instance.instance_id,
        track_id=instance.track_id,
        class_id=instance.class_id,
        score=float(instance.score),
        visible_mask=mask_to_message(instance.visible_mask),
        amodal_mask=mask_to_message(instance.amodal_mask),
        occlusion_ratio=float(instance.occlusion_ratio),
        occlusion_level=instance.occlusion_level,
        visible_depth=float(instance.visible_depth),
        amodal_depth=float(instance.amodal_depth),
        amodal_depth_stddev=float(instance.amodal_depth_stddev),
    )


def _order_to_message(order: OcclusionOrder) -> messages.OcclusionOrder:
    probability = np.asarray(order.probability, np.float32)
    others = np.where(probability == _DECIDED_BY_DEPTH, np.nextafter(_DECIDED_BY_DEPTH, np.float32(1)), probability)
    return messages.OcclusionOrder(
        occluder_ids=flat_array("I", order.occluder_ids),
        occludee_ids=flat_array("I", order.occludee_ids),
        probability=flat_array("f", np.where(order.in_cycle, _DECIDED_BY_DEPTH, others)),
        overlap_px=flat_array("I", order.overlap_px),
    )


def scene_from_messages(
    panoptic: messages.AmodalPanoptic,
    depth: messages.AmodalDepth,
    camera_info: CameraInfo,
    base_from_camera: np.ndarray | None = None,
) -> CameraScene:
    """Rebuild the scene of one image; `CameraScene.depth_levels()` then gives D_0..D_7 of AmodalSynthDrive.

    Args:
        panoptic: labels, instances and order of the image.
        depth: the depth message with the same header.
        camera_info: calibration of that image.
        base_from_camera: (4, 4) pose of the optical frame in the base frame; the identity where it does not matter.

    Raises:
        ConversionError: messages of different images (not_one_image), a broken mask (bad_mask), an image that does
            not decode (see `image_to_array`), an invalid calibration (see `camera_from_info`), or contents that
            contradict each other (inconsistent).
    """
    if stamp_to_ns(panoptic.header.stamp) != stamp_to_ns(depth.header.stamp) or (
        panoptic.camera_name != depth.camera_name
    ):
        raise ConversionError(
            "not_one_image",
            f"panoptic message of camera '{panoptic.camera_name}' at {stamp_to_ns(panoptic.header.stamp)} ns and depth "
            f"message of camera '{depth.camera_name}' at {stamp_to_ns(depth.header.stamp)} ns are not of one image",
        )
    pose = np.eye(4) if base_from_camera is None else base_from_camera
    camera, _ = camera_from_info(camera_info, panoptic.camera_name, pose, (panoptic.width, panoptic.height))
    patches = {patch.instance_id: _patch_from_message(patch.depth) for patch in depth.patches}
    try:
        return CameraScene(
            camera=camera,
            stamp_ns=stamp_to_ns(panoptic.header.stamp),
            labels=image_to_array(panoptic.labels),
            depth=image_to_array(depth.visible_depth),
            instances=[_instance_from_message(instance, patches) for instance in panoptic.instances],
            order=_order_from_message(panoptic.order),
        )
    except ConversionError:
        raise
    except ValueError as error:
        raise ConversionError("inconsistent", str(error)) from error


def _patch_from_message(message: Image) -> np.ndarray:
    """Return a 32FC1 image as float32; an image of no pixels (the patch of an empty mask) gives (0, 0)."""
    return np.zeros((0, 0), np.float32) if message.height * message.width == 0 else image_to_array(message)


def _instance_from_message(message: messages.AmodalInstance, patches: dict[int, np.ndarray]) -> Instance:
    if message.instance_id not in patches:
        raise ConversionError("inconsistent", f"instance {message.instance_id} has no patch in the depth message")
    return Instance(
        instance_id=message.instance_id,
        class_id=message.class_id,
        score=message.score,
        visible_mask=mask_from_message(message.visible_mask),
        amodal_mask=mask_from_message(message.amodal_mask),
        occlusion_level=message.occlusion_level,
        visible_depth=message.visible_depth,
        amodal_depth=message.amodal_depth,
        amodal_depth_stddev=message.amodal_depth_stddev,
        depth=patches[message.instance_id],
        track_id=message.track_id,
    )


def _order_from_message(message: messages.OcclusionOrder) -> OcclusionOrder:
    arrays = (message.occluder_ids, message.occludee_ids, message.probability, message.overlap_px)
    lengths = [len(values) for values in arrays]
    if len(set(lengths)) != 1:
        raise ConversionError("inconsistent", f"the arrays of the occlusion order have different lengths {lengths}")
    probability = np.array(message.probability, np.float32)
    return OcclusionOrder(
        occluder_ids=np.array(message.occluder_ids, np.uint32),
        occludee_ids=np.array(message.occludee_ids, np.uint32),
        probability=probability,
        overlap_px=np.array(message.overlap_px, np.uint32),
        in_cycle=probability == _DECIDED_BY_DEPTH,
    )


def bev_to_message(bev: BevOccupancy, frame_id: str) -> messages.BevOccupancy:
    """Return a bird's-eye-view grid as this package's message; `frame_id` is the odometry frame."""
    header = make_header(bev.stamp_ns, frame_id)
    return messages.BevOccupancy(
        header=header,
        info=_map_info(bev, header),
        z_min=float(bev.z_min),
        z_max=float(bev.z_max),
        visible=flat_array("b", bev.visible),
        amodal=flat_array("b", bev.amodal),
        semantic=flat_array("B", bev.semantic),
        evidence=flat_array("B", bev.evidence),
        sources=[source.name for source in bev.sources],
        source_status=array("B", [int(source.status) for source in bev.sources]),
        source_age=[_duration(source.age_ns) for source in bev.sources],
    )


def bev_from_message(message: messages.BevOccupancy) -> BevOccupancy:
    """Return the grid of a message; raises ConversionError (size_mismatch) when an array does not fill it."""
    rows, columns = message.info.height, message.info.width
    names = ("visible", "amodal", "semantic", "evidence")
    grids = {name: np.array(getattr(message, name), np.int8 if name in names[:2] else np.uint8) for name in names}
    for name, grid in grids.items():
        if grid.size != rows * columns:
            raise ConversionError("size_mismatch", f"'{name}' has {grid.size} cells, not {rows} x {columns}")
    if not len(message.sources) == len(message.source_status) == len(message.source_age):
        raise ConversionError("size_mismatch", "sources, source_status and source_age differ in length")
    return BevOccupancy(
        stamp_ns=stamp_to_ns(message.header.stamp),
        resolution=message.info.resolution,
        origin=(message.info.origin.position.x, message.info.origin.position.y),
        **{name: grid.reshape(rows, columns) for name, grid in grids.items()},
        z_min=message.z_min,
        z_max=message.z_max,
        sources=tuple(
            Source(name, SourceStatus(status), age.sec * NANOSECONDS + age.nanosec)
            for name, status, age in zip(message.sources, message.source_status, message.source_age)
        ),
    )


def _map_info(bev: BevOccupancy, header: Header) -> MapMetaData:
    rows, columns = bev.amodal.shape
    info = MapMetaData(map_load_time=header.stamp, resolution=float(bev.resolution), width=columns, height=rows)
    info.origin.position.x, info.origin.position.y = float(bev.origin[0]), float(bev.origin[1])
    return info


def _duration(nanoseconds: int) -> Duration:
    sec, nanosec = divmod(int(nanoseconds), NANOSECONDS)
    return Duration(sec=sec, nanosec=nanosec)


def bev_to_occupancy_grid(
    bev: BevOccupancy,
    frame_id: str,
    convention: str = "nav2",
    occupied_percent: int = 50,
    free_percent: int = 25,
) -> OccupancyGrid:
    """Return the amodal layer as a standard grid.

    Args:
        bev: the grid.
        frame_id: the odometry frame.
        convention: "nav2" gives -1 (unknown), 0 (free) and 100 (occupied), because nav2's static layer takes every
            value below 100 for free; "autoware" gives 1..99 with 50 for unknown, as Autoware's
            probabilistic_occupancy_grid_map.
        occupied_percent: nav2 only: occupied from this value on.
        free_percent: nav2 only: free up to this value; what lies between is unknown.

    Raises:
        ValueError: another convention.
    """
    header = make_header(bev.stamp_ns, frame_id)
    occupancy = bev.amodal
    if convention == "nav2":
        cells = np.full(occupancy.shape, -1, np.int8)
        cells[(occupancy >= 0) & (occupancy <= free_percent)] = 0
        cells[occupancy >= occupied_percent] = 100
    elif convention == "autoware":
        cells = np.where(occupancy < 0, 50, np.clip(occupancy, 1, 99)).astype(np.int8)
    else:
        raise ValueError(f"occupancy convention '{convention}' is not one of nav2, autoware")
    return OccupancyGrid(header=header, info=_map_info(bev, header), data=flat_array("b", cells))


def bev_to_cloud(bev: BevOccupancy, frame_id: str, ground_z: float = 0.0, occupied_percent: int = 50) -> PointCloud2:
    """Return one point per occupied cell of the amodal layer, at the middle of the height band.

    Args:
        bev: the grid.
        frame_id: the odometry frame.
        ground_z: height [m] of the base frame in the odometry frame.
        occupied_percent: a cell is occupied from this value on.

    Returns:
        Unorganized cloud with float32 fields x, y, z [m] and intensity (occupancy in 0..1).
    """
    rows, columns = np.nonzero(bev.amodal >= occupied_percent)
    points = np.empty((rows.size, 4), np.float32)
    points[:, 0] = bev.origin[0] + (columns + 0.5) * bev.resolution
    points[:, 1] = bev.origin[1] + (rows + 0.5) * bev.resolution
    points[:, 2] = ground_z + (bev.z_min + bev.z_max) / 2
    points[:, 3] = bev.amodal[rows, columns] / 100.0
    return points_to_cloud(points, make_header(bev.stamp_ns, frame_id))


def points_to_cloud(points: np.ndarray, header: Header) -> PointCloud2:
    """Return (N, 4) x, y, z, intensity as an unorganized cloud of float32 fields."""
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(("x", "y", "z", "intensity"))
    ]
    values = np.ascontiguousarray(points, np.float32)
    return PointCloud2(
        header=header,
        height=1,
        width=len(values),
        fields=fields,
        is_bigendian=False,
        point_step=16,
        row_step=16 * len(values),
        data=flat_array("B", values.reshape(-1).view(np.uint8)),
        is_dense=bool(np.isfinite(values).all()),
    )


def objects_to_message(objects: list[AmodalObject], stamp_ns: int, frame_id: str) -> messages.AmodalObjectArray:
    """Return 3-D objects as a message; `frame_id` is the odometry frame."""
    return messages.AmodalObjectArray(
        header=make_header(stamp_ns, frame_id), objects=[_object_to_message(each) for each in objects]
    )


def objects_from_message(message: messages.AmodalObjectArray) -> list[AmodalObject]:
    """Return the 3-D objects of a message."""
    return [_object_from_message(each) for each in message.objects]


def _object_to_message(item: AmodalObject) -> messages.AmodalObject:
    message = messages.AmodalObject(
        track_id=item.track_id,
        class_id=item.class_id,
        existence_probability=float(item.existence_probability),
        size=_vector(item.size),
        visible_fraction=float(item.visible_fraction),
        hidden=item.hidden,
        last_seen=ns_to_stamp(item.last_seen_ns),
        cameras=list(item.cameras),
    )
    _fill_pose(message.pose.pose, item)
    message.pose.covariance = np.ascontiguousarray(item.covariance, np.float64).ravel()
    message.velocity.linear = _vector(item.velocity)
    message.velocity.angular = _vector(np.array([np.nan, np.nan, item.yaw_rate]))
    return message


def _object_from_message(message: messages.AmodalObject) -> AmodalObject:
    pose = message.pose.pose
    linear = message.velocity.linear
    covariance = np.array(message.pose.covariance, np.float64).reshape(6, 6)
    return AmodalObject(
        track_id=message.track_id,
        class_id=message.class_id,
        existence_probability=message.existence_probability,
        center=np.array([pose.position.x, pose.position.y, pose.position.z]),
        size=np.array([message.size.x, message.size.y, message.size.z]),
        yaw=2.0 * math.atan2(pose.orientation.z, pose.orientation.w),
        velocity=np.array([linear.x, linear.y, linear.z]),
        position_stddev=largest_stddev(covariance),
        visible_fraction=message.visible_fraction,
        cameras=tuple(message.cameras),
        last_seen_ns=stamp_to_ns(message.last_seen),
        covariance=covariance,
        yaw_rate=message.velocity.angular.z,
    )


def _fill_pose(pose: Pose, item: AmodalObject) -> None:
    """Write centre and heading of an upright box into a geometry_msgs/Pose."""
    pose.position.x, pose.position.y, pose.position.z = (float(value) for value in item.center)
    half = math.remainder(item.yaw, 2.0 * math.pi) / 2.0
    pose.orientation.z, pose.orientation.w = math.sin(half), math.cos(half)


def _vector(values: np.ndarray) -> Vector3:
    return Vector3(x=float(values[0]), y=float(values[1]), z=float(values[2]))


def objects_to_markers(
    objects: list[AmodalObject], stamp_ns: int, frame_id: str, lifetime_s: float = 0.5
) -> MarkerArray:
    """Return a box and a caption per object for RViz and Foxglove.

    The array begins with DELETEALL, so that no box of an earlier set stays: a tracked object keeps its marker id (the
    track id) from message to message, but untracked ones are only numbered. When messages cease, the markers disappear
    after `lifetime_s`. Hidden objects are drawn more transparent.
    """
    header = make_header(stamp_ns, frame_id)
    array_message = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    lifetime = _duration(round(lifetime_s * NANOSECONDS))
    for index, item in enumerate(objects):
        tracked = item.track_id != 0
        box = Marker(
            header=header,
            ns="objects" if tracked else "untracked",
            id=item.track_id % 2**31 if tracked else index,
            type=Marker.CUBE,
            action=Marker.ADD,
            scale=_vector(item.size),
            color=_marker_color(item),
            lifetime=lifetime,
        )
        _fill_pose(box.pose, item)
        caption = Marker(
            header=header,
            ns=box.ns + "_caption",
            id=box.id,
            type=Marker.TEXT_VIEW_FACING,
            action=Marker.ADD,
            scale=Vector3(x=0.0, y=0.0, z=0.6),
            color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=0.9),
            lifetime=lifetime,
            text=_caption(item),
        )
        _fill_pose(caption.pose, item)
        caption.pose.position.z += float(item.size[2]) / 2 + 0.5
        array_message.markers += [box, caption]
    return array_message


def _marker_color(item: AmodalObject) -> ColorRGBA:
    red, green, blue = (channel / 255.0 for channel in BY_ID[item.class_id].color)
    return ColorRGBA(r=red, g=green, b=blue, a=0.7 if item.cameras else 0.35)


def _caption(item: AmodalObject) -> str:
    track = f" {item.track_id}" if item.track_id else ""
    seen = f"{item.visible_fraction:.0%} visible" if item.cameras else "hidden"
    return f"{BY_ID[item.class_id].name}{track}, {seen}"
