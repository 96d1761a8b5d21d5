"""Start amodal perception for a surround rig: the perception node, and if asked for the visualizer and RViz.

`ros2 launch amodal_perception_ros surround.launch.py --show-args` explains the arguments. For CARLA give
use_sim_time:=true and params_file:= the path of config/carla.yaml in this package's share directory.
"""

import tempfile
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from amodal_perception_ros.ros.topics import read_parameters, remappings

PACKAGE = "amodal_perception_ros"
SHARE = Path(get_package_share_directory(PACKAGE))
OVERRIDES = ("weights", "engine", "device", "image_transport", "base_frame", "odom_frame")
"""Parameters that have a launch argument of their own; an empty one leaves the parameter file's value."""


def arguments() -> list[DeclareLaunchArgument]:
    """Every launch argument with its default and what it means."""
    boolean = ["true", "false"]
    return [
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes and their topics."),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(SHARE / "config" / "surround.param.yaml"),
            description="ROS parameter file of the nodes.",
        ),
        DeclareLaunchArgument(
            "topics_file",
            default_value="",
            description="YAML file that maps the nodes' input topics to the rig's, for example "
            "'{camera}/image: /sensors/{camera}/image_rect'. Empty: NAME.topics.yaml beside the parameter file "
            "NAME.yaml if there is one, else no mapping.",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=boolean,
            description="Take time from /clock: for simulators and for `ros2 bag play --clock`.",
        ),
        DeclareLaunchArgument(
            "visualizer",
            default_value="true",
            choices=boolean,
            description="Start the visualizer node, which draws the overlay images.",
        ),
        DeclareLaunchArgument("rviz", default_value="false", choices=boolean, description="Start RViz."),
        DeclareLaunchArgument(
            "rviz_config", default_value=str(SHARE / "rviz" / "amodal.rviz"), description="Display file of RViz."
        ),
        DeclareLaunchArgument(
            "weights", default_value="", description="Weights file; empty: the parameter file's, else this package's."
        ),
        DeclareLaunchArgument(
            "engine",
            default_value="",
            choices=["", "torch", "onnxruntime"],
            description="What executes the network; empty: the parameter file's choice.",
        ),
        DeclareLaunchArgument(
            "device", default_value="", description="auto, cpu or cuda:N; empty: the parameter file's choice."
        ),
        DeclareLaunchArgument(
            "image_transport",
            default_value="",
            choices=["", "raw", "compressed"],
            description="Which image topics are subscribed: raw, or compressed as in demo/drive.mcap; empty: the "
            "parameter file's choice.",
        ),
        DeclareLaunchArgument(
            "base_frame", default_value="", description="Body frame of the vehicle; empty: the parameter file's."
        ),
        DeclareLaunchArgument(
            "odom_frame", default_value="", description="Fixed frame of the odometry; empty: the parameter file's."
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="Least severity of the nodes' log messages.",
        ),
    ]


def display_file(context: LaunchContext, base_frame: str) -> str:
    """Return RViz's display file, where the view follows base_frame: a temporary copy if that is not base_link."""
    source = LaunchConfiguration("rviz_config").perform(context)
    if LaunchConfiguration("rviz").perform(context) != "true" or base_frame == "base_link":
        return source
    text = Path(source).read_text(encoding="utf-8")
    with tempfile.NamedTemporaryFile("w", prefix="amodal_", suffix=".rviz", encoding="utf-8", delete=False) as copy:
        copy.write(text.replace("Target Frame: base_link", f"Target Frame: {base_frame}"))
    return copy.name


def nodes(context: LaunchContext) -> list[Node]:
    """Make the nodes from the arguments' values."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ("params_file", "topics_file", *OVERRIDES)}
    params_file = Path(value["params_file"])
    topics_file = Path(value["topics_file"]) if value["topics_file"] else None
    use_sim_time = LaunchConfiguration("use_sim_time").perform(context) == "true"
    overrides = {name: value[name] for name in OVERRIDES if value[name]}
    topics = remappings(params_file, topics_file)
    frames = {name: str(value) for name, value in {**read_parameters(params_file), **overrides}.items()}
    common = {
        "package": PACKAGE,
        "namespace": LaunchConfiguration("namespace"),
        "parameters": [str(params_file), {"use_sim_time": use_sim_time, **overrides}],
        "remappings": topics,
        "arguments": ["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        "output": "screen",
    }
    return [
        Node(
            executable="perception_node",
            name="amodal_perception",
            on_exit=Shutdown(reason="the perception node ended"),
            **common,
        ),
        Node(
            executable="visualizer_node",
            name="amodal_visualizer",
            condition=IfCondition(LaunchConfiguration("visualizer")),
            **common,
        ),
        Node(
            package="rviz2",
            executable="rviz2",
            namespace=LaunchConfiguration("namespace"),
            arguments=["-d", display_file(context, frames["base_frame"]), "-f", frames["odom_frame"]],
            parameters=[{"use_sim_time": use_sim_time}],
            remappings=topics,
            condition=IfCondition(LaunchConfiguration("rviz")),
            output="screen",
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    return LaunchDescription([*arguments(), OpaqueFunction(function=nodes)])
