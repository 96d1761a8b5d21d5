"""Declares the parameters of `parameter_table` on a node and hands them over as one typed, frozen object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from amodal_perception_ros.ros.parameter_table import (
    LIDAR,
    ODOMETRY,
    OUTPUTS,
    PARAMETERS,
    ParameterSpec,
    Value,
    check_values,
    expand,
    unknown_names,
)


@dataclass(frozen=True)
class PerceptionParameters:
    """The checked parameters of the perception node; names, units and meaning as in `parameter_table`.

    Attributes:
        extrinsics: sensor -> (x, y, z, qx, qy, qz, qw) in base_frame, for sensors whose pose is a parameter.
        offset_ms: sensor -> offset for matching.
        publish: names of the outputs that are switched on.
    """

    cameras: tuple[str, ...]
    image_transport: str
    sensor_reliability: str
    base_frame: str
    odom_frame: str
    extrinsics: dict[str, tuple[float, ...]]
    weights: str
    engine: str
    device: str
    precision: str
    acceleration: str
    input_size: tuple[int, int]
    score_threshold: float
    use_lidar: bool
    use_odometry: bool
    reference: str
    window_ms: float
    timeout_ms: float
    alive_ms: float
    jump_ms: float
    min_cameras: int
    offset_ms: dict[str, float]
    motion_compensation: bool
    extent_m: float
    resolution_m: float
    z_min_m: float
    z_max_m: float
    ego_length_m: float
    ego_width_m: float
    ego_center_x_m: float
    convention: str
    track_memory_s: float
    track_min_existence: float
    track_gate: float
    max_tracks: int
    publish: frozenset[str]
    diagnostics_period_s: float
    sensor_timeout_s: float

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the sensors in use: cameras, LiDAR, odometry."""
        extra = ((LIDAR, self.use_lidar), (ODOMETRY, self.use_odometry))
        return (*self.cameras, *(name for name, used in extra if used))

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> PerceptionParameters:
        """Build from checked values (`check_values`)."""

        def per_sensor(stem: str) -> dict[str, Any]:
            return {name[len(stem) :]: value for name, value in values.items() if name.startswith(stem)}

        return cls(
            cameras=tuple(values["cameras"]),
            image_transport=values["image_transport"],
            sensor_reliability=values["sensor_reliability"],
            base_frame=values["base_frame"],
            odom_frame=values["odom_frame"],
            extrinsics={name: tuple(pose) for name, pose in per_sensor("extrinsics.").items()},
            weights=values["weights"],
            engine=values["engine"],
            device=values["device"],
            precision=values["precision"],
            acceleration=values["acceleration"],
            input_size=(values["input_size"][0], values["input_size"][1]),
            score_threshold=values["score_threshold"],
            use_lidar=values["use_lidar"],
            use_odometry=values["use_odometry"],
            reference=values["sync.reference"],
            window_ms=values["sync.window_ms"],
            timeout_ms=values["sync.timeout_ms"],
            alive_ms=values["sync.alive_ms"],
            jump_ms=values["sync.jump_ms"],
            min_cameras=values["sync.min_cameras"],
            offset_ms=per_sensor("sync.offset_ms."),
            motion_compensation=values["sync.motion_compensation"],
            extent_m=values["bev.extent_m"],
            resolution_m=values["bev.resolution_m"],
            z_min_m=values["bev.z_min_m"],
            z_max_m=values["bev.z_max_m"],
            ego_length_m=values["bev.ego_length_m"],
            ego_width_m=values["bev.ego_width_m"],
            ego_center_x_m=values["bev.ego_center_x_m"],
            convention=values["bev.convention"],
            track_memory_s=values["track.memory_s"],
            track_min_existence=values["track.min_existence"],
            track_gate=values["track.gate"],
            max_tracks=values["track.max_tracks"],
            publish=frozenset(output for output in OUTPUTS if values[f"publish.{output}"]),
            diagnostics_period_s=values["diagnostics.period_s"],
            sensor_timeout_s=values["diagnostics.sensor_timeout_s"],
        )


def declare(node: Node, specs: tuple[ParameterSpec, ...] = PARAMETERS) -> dict[str, Value]:
    """Declare the parameters, read-only and described, and return their checked values.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`: only so are given
    values visible before their declaration, which lets an integer stand for a float, turns every wrong value
    into one line, and finds names that nobody declares (a typing error would else pass silently).

    Raises:
        ParameterError: a value is wrong.
    """
    parameters: dict[str, Any] = node.get_parameters_by_prefix("")
    given = {name: parameter.value for name, parameter in parameters.items()}
    values = check_values(given, specs)
    cameras: Any = values["cameras"]
    table = expand(specs, cameras)
    for name, value in values.items():
        if node.has_parameter(name):
            node.undeclare_parameter(name)
        node.declare_parameter(name, value, describe(table[name]), ignore_override=True)
    for name in unknown_names(given, cameras):
        node.get_logger().warning(f"unknown parameter '{name}' is ignored; see the parameter table in docs/node.md")
    return values


def describe(spec: ParameterSpec) -> ParameterDescriptor:
    """Return the descriptor of a parameter; array ranges go into the text because ROS has ranges for scalars only."""
    descriptor = ParameterDescriptor(description=spec.description, read_only=True)
    descriptor.additional_constraints = f"Must be {spec.allowed()}."
    if spec.minimum is not None and spec.maximum is not None and not spec.is_list:
        if spec.element_type is int:
            limits = IntegerRange(from_value=int(spec.minimum), to_value=int(spec.maximum))
            descriptor.integer_range = [limits]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=spec.minimum, to_value=spec.maximum)]
    return descriptor
