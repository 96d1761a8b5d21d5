"""The message definitions: constants equal to the Python enums, every field documented, all of them serialisable."""

import re
from pathlib import Path

import pytest
from rclpy.serialization import deserialize_message, serialize_message

from amodal_perception_ros import msg
from amodal_perception_ros.labels import LABELS, SEGMENT_FACTOR, THINGS, UNLABELLED, Label
from amodal_perception_ros.scene import Evidence, SourceStatus

DEFINITIONS = sorted((Path(__file__).resolve().parents[1] / "msg").glob("*.msg"))
NAMES = [path.stem for path in DEFINITIONS]

pytestmark = pytest.mark.ros


def constants(message: type, prefix: str) -> dict[str, int]:
    """Constants of a generated message class as name without prefix -> value."""
    names = [name for name in dir(type(message)) + dir(message) if name.startswith(prefix)]
    return {name.removeprefix(prefix): getattr(message, name) for name in names}


def class_constants(labels: tuple[Label, ...]) -> dict[str, int]:
    return {label.name.upper().replace(" ", "_"): label.id for label in labels}


FIELDS = {
    "AmodalMask": "int32 x_offset, int32 y_offset, uint32 width, uint32 height, uint32[] counts",
    "AmodalInstance": "uint32 instance_id, uint32 track_id, uint8 class_id, float32 score, AmodalMask visible_mask, "
    "AmodalMask amodal_mask, float32 occlusion_ratio, uint8 occlusion_level, float32 visible_depth, "
    "float32 amodal_depth, float32 amodal_depth_stddev",
    "OcclusionOrder": "uint32[] occluder_ids, uint32[] occludee_ids, float32[] probability, uint32[] overlap_px",
    "AmodalPanoptic": "std_msgs/Header header, string camera_name, uint32 height, uint32 width, "
    "sensor_msgs/Image labels, AmodalInstance[] instances, OcclusionOrder order, string model_id",
    "AmodalDepth": "std_msgs/Header header, string camera_name, sensor_msgs/Image visible_depth, "
    "AmodalDepthPatch[] patches",
    "AmodalDepthPatch": "uint32 instance_id, uint8 occlusion_level, int32 x_offset, int32 y_offset, "
    "sensor_msgs/Image depth",
    "AmodalObject": "uint32 track_id, uint8 class_id, float32 existence_probability, "
    "geometry_msgs/PoseWithCovariance pose, geometry_msgs/Vector3 size, geometry_msgs/Twist velocity, "
    "float32 visible_fraction, bool hidden, builtin_interfaces/Time last_seen, string[] cameras",
    "AmodalObjectArray": "std_msgs/Header header, AmodalObject[] objects",
    "BevOccupancy": "std_msgs/Header header, nav_msgs/MapMetaData info, float32 z_min, float32 z_max, int8[] visible, "
    "int8[] amodal, uint8[] semantic, uint8[] evidence, string[] sources, uint8[] source_status, "
    "builtin_interfaces/Duration[] source_age",
}
"""The interface that planners compile against: types, names and order."""


@pytest.mark.parametrize("path", DEFINITIONS, ids=NAMES)
def test_fields_are_those_of_the_interface(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#") and "=" not in line]
    assert ", ".join(lines) == FIELDS[path.stem]


def test_panoptic_message_names_all_classes() -> None:
    assert constants(msg.AmodalPanoptic, "CLASS_") == {"UNLABELLED": UNLABELLED, **class_constants(LABELS)}
    assert msg.AmodalPanoptic.SEGMENT_FACTOR == SEGMENT_FACTOR


@pytest.mark.parametrize("message", [msg.AmodalInstance, msg.AmodalObject])
def test_object_messages_name_the_things(message: type) -> None:
    assert constants(message, "CLASS_") == class_constants(THINGS)
    assert constants(message, "UNTRACKED") == {"": 0}


def test_grid_message_names_evidence_and_source_status() -> None:
    assert constants(msg.BevOccupancy, "EVIDENCE_") == {code.name: code.value for code in Evidence}
    assert constants(msg.BevOccupancy, "STATUS_") == {code.name: code.value for code in SourceStatus}


def test_every_definition_is_generated() -> None:
    generated = {name for name in dir(msg) if isinstance(getattr(msg, name), type)}
    assert generated == set(NAMES)


@pytest.mark.parametrize("path", DEFINITIONS, ids=NAMES)
def test_every_field_is_documented(path: Path) -> None:
    """A paragraph of fields starts with a comment; the first paragraph says what the message is."""
    paragraphs = [paragraph.splitlines() for paragraph in re.split(r"\n\s*\n", path.read_text().strip())]
    assert all(line.startswith("#") for line in paragraphs[0]), "no description of the message"
    undocumented = [lines[0] for lines in paragraphs if not lines[0].startswith("#")]
    assert undocumented == []


@pytest.mark.parametrize("path", DEFINITIONS, ids=NAMES)
def test_every_field_states_its_unit_or_meaning_of_unknown(path: Path) -> None:
    """Floating-point fields say their unit or range."""
    paragraphs = re.split(r"\n\s*\n", path.read_text().strip())
    floats = [text for text in paragraphs if re.search(r"^float", text, re.MULTILINE)]
    silent = [text for text in floats if "[" not in text.split("\nfloat")[0] and "Range:" not in text]
    assert silent == []


@pytest.mark.parametrize("name", NAMES)
def test_default_message_survives_serialisation(name: str) -> None:
    kind = getattr(msg, name)
    assert deserialize_message(serialize_message(kind()), kind) == kind()


def test_nested_values_survive_serialisation() -> None:
    mask = msg.AmodalMask(x_offset=-3, y_offset=-4, width=5, height=2, counts=[1, 9])
    instance = msg.AmodalInstance(instance_id=26007, class_id=msg.AmodalInstance.CLASS_CAR, amodal_mask=mask)
    order = msg.OcclusionOrder(occluder_ids=[26007], occludee_ids=[24001], probability=[0.5], overlap_px=[7])
    sent = msg.AmodalPanoptic(camera_name="front", instances=[instance], order=order)
    received = deserialize_message(serialize_message(sent), msg.AmodalPanoptic)
    assert received == sent
    assert list(received.instances[0].amodal_mask.counts) == [1, 9]
    assert received.instances[0].amodal_mask.x_offset == -3
