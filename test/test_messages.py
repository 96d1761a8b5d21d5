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
    order = msg.OcclusionOrder(occluder_ids=[26007], occludee_ids=[24001], probability=[0.5], in_cycle=[True])
    sent = msg.AmodalPanoptic(camera_name="front", instances=[instance], order=order)
    received = deserialize_message(serialize_message(sent), msg.AmodalPanoptic)
    assert received == sent
    assert list(received.instances[0].amodal_mask.counts) == [1, 9]
    assert received.instances[0].amodal_mask.x_offset == -3
