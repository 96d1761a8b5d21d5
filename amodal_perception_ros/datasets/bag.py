"""Writes samples into a rosbag2 recording and opens recordings; plain Python, no ROS needed (library: rosbags)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

from rosbags.interfaces import Connection, ConnectionExtRosbag2, QosDurability, QosReliability
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer

from amodal_perception_ros.datasets.bag_messages import jazzy, messages, qos
from amodal_perception_ros.datasets.bag_profiles import PROFILES
from amodal_perception_ros.datasets.files import unwritable
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.scene import Sample, SurroundFrame, SurroundScene

_METADATA_VERSION: Literal[8] = 8
"""Version of the rosbag2 metadata: 8 spells QoS in numbers as Humble and Iron do, 9 in words; Jazzy reads both."""

_MCAP_MAGIC = b"\x89MCAP0\r\n"


class BagError(InputError):
    """A recording is missing, empty, truncated or of another kind; the message names the path."""


def write_bag(
    recorded: Iterable[Sample | SurroundFrame], out: Path | str, profile: str = "default", jpeg_quality: int = 90
) -> Path:
    """Write frames as a rosbag2 recording (MCAP, zstd chunks, ROS 2 Jazzy messages, definitions embedded).

    Topics and encodings of the profiles are in docs/data-format.md. Messages are logged at their sensor stamps.

    Args:
        recorded: in order of time; a sample's IMU, GNSS and rings are written beside what its frame holds.
        out: `NAME.mcap` makes this single file and replaces an older one; any other path makes a rosbag2 folder
            with metadata.yaml and must not exist.
        profile: "default" or "carla" (topics, frames and raw images of the CARLA ROS bridge).
        jpeg_quality: quality of compressed images, 1..100.

    Returns:
        The file or folder.

    Raises:
        BagError: the folder exists, there is no frame, or the disk is full.
        ValueError: the profile is unknown.
    """
    out = Path(out)
    if profile not in PROFILES:
        raise ValueError(f"unknown bag profile '{profile}'; known: {sorted(PROFILES)}")
    single = out.suffix == ".mcap"
    if out.exists() and (not single or out.is_dir()):
        raise BagError(f"{out}: exists already; choose another name or one that ends in .mcap")
    try:
        _write_in_place(recorded, out, profile, jpeg_quality)
    except OSError as error:
        raise BagError(str(unwritable(out, error))) from error
    return out


def _write_in_place(recorded: Iterable[Sample | SurroundFrame], out: Path, profile: str, jpeg_quality: int) -> None:
    """Write the recording in a folder beside its place, so that nothing half-written ever has the final name."""
    single = out.suffix == ".mcap"
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bag-", dir=out.parent) as folder:
        draft = Path(folder, out.stem if single else out.name)
        if _write(map(_as_sample, recorded), draft, profile, jpeg_quality) == 0:
            raise BagError(f"{out}: no frames to write")
        if single:
            os.replace(draft / f"{draft.name}.mcap", out)
        else:
            shutil.move(draft, out)


def _as_sample(recorded: Sample | SurroundFrame) -> Sample:
    if isinstance(recorded, Sample):
        return recorded
    return Sample("", 0, recorded, SurroundScene(recorded.stamp_ns, {}))


def _write(samples: Iterable[Sample], folder: Path, profile: str, jpeg_quality: int) -> int:
    """Write the recording and return its number of messages."""
    types, count = jazzy(), 0
    connections: dict[str, Connection] = {}
    writer = Writer(folder, version=_METADATA_VERSION, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        for outgoing in messages(samples, PROFILES[profile], jpeg_quality):
            connection = connections.get(outgoing.topic)
            if connection is None:
                connection = connections[outgoing.topic] = writer.add_connection(
                    outgoing.topic, outgoing.type, typestore=types, offered_qos_profiles=[qos(outgoing.topic)]
                )
            writer.write(connection, outgoing.stamp_ns, types.serialize_cdr(outgoing.message, outgoing.type))
            count += 1
    return count


@dataclass(frozen=True)
class BagTopic:
    """One topic of a recording.

    Attributes:
        topic: its name.
        type: ROS 2 message type, e.g. "sensor_msgs/msg/Image".
        count: number of messages.
        latched: offered as TRANSIENT_LOCAL, for subscribers that come late.
        reliable: offered as RELIABLE.
        definition: text of the message definition with those it depends on; "" when the recording has none.
    """

    topic: str
    type: str
    count: int
    latched: bool
    reliable: bool
    definition: str


class BagMessage(NamedTuple):
    """One recorded message: `data` is its CDR serialization with the 4-byte header, `stamp_ns` its log time."""

    topic: str
    type: str
    stamp_ns: int
    data: bytes


class Bag:
    """An open recording; a context manager.

    Attributes:
        path: file or folder.
        topics: what it holds.
        start_ns, end_ns: log time of the first and last message.
        message_count: messages of all topics.
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        self.path, self._reader = path, reader
        self._connections = list(reader.connections)
        self.topics = [_topic(connection) for connection in self._connections]
        self.start_ns, self.end_ns = reader.start_time, reader.end_time - 1
        self.message_count = reader.message_count

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """Yield messages in order of log time, of all or of the named topics.

        Raises:
            BagError: the recording is damaged here.
        """
        chosen = [c for c in self._connections if topics is None or c.topic in topics]
        # An empty choice would mean all of them to the library.
        stream = iter(self._reader.messages(chosen)) if chosen else iter(())
        while True:
            try:
                connection, stamp_ns, data = next(stream)
            except StopIteration:
                return
            except Exception as error:  # Damaged bytes surface as many kinds of exception, depending on the place.
                raise BagError(f"{self.path}: damaged recording ({_reason(error)})") from error
            yield BagMessage(connection.topic, connection.msgtype, stamp_ns, bytes(data))

    def close(self) -> None:
        """Close the file."""
        if self._reader.is_open:
            self._reader.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_bag(path: Path | str) -> Bag:
    """Open a rosbag2 recording: a folder with metadata.yaml, or a single .mcap or .db3 file.

    Raises:
        BagError: it is missing, empty, truncated, damaged or not a rosbag2 recording.
    """
    path = Path(path)
    _check(path)
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:  # As in `Bag.messages`.
        raise BagError(f"{path}: not a readable rosbag2 recording ({_reason(error)})") from error
    bag = Bag(path, reader)
    if bag.message_count == 0:
        bag.close()
        raise BagError(f"{path}: the recording holds no messages")
    return bag


def _check(path: Path) -> None:
    """Say plainly what is wrong with a path before the library tries it."""
    if not path.exists():
        raise BagError(f"{path}: no such recording")
    if path.is_dir():
        if not (path / "metadata.yaml").is_file():
            raise BagError(f"{path}: not a rosbag2 folder, metadata.yaml is missing")
        return
    size = path.stat().st_size
    if size == 0:
        raise BagError(f"{path}: the file is empty")
    if path.suffix not in (".mcap", ".db3"):
        raise BagError(f"{path}: not a rosbag2 recording; expected a folder, a .mcap or a .db3 file")
    if path.suffix == ".mcap":
        with path.open("rb") as file:
            start = file.read(len(_MCAP_MAGIC))
            file.seek(max(0, size - len(_MCAP_MAGIC)))
            end = file.read()
        if start != _MCAP_MAGIC:
            raise BagError(f"{path}: not an MCAP file")
        if end != _MCAP_MAGIC or size == len(_MCAP_MAGIC):
            raise BagError(f"{path}: truncated MCAP file ({size} bytes); `mcap recover` may save what is left")


def _topic(connection: Connection) -> BagTopic:
    offered = connection.ext.offered_qos_profiles if isinstance(connection.ext, ConnectionExtRosbag2) else []
    return BagTopic(
        topic=connection.topic,
        type=connection.msgtype,
        count=connection.msgcount,
        latched=any(profile.durability == QosDurability.TRANSIENT_LOCAL for profile in offered),
        reliable=all(profile.reliability != QosReliability.BEST_EFFORT for profile in offered),
        definition=connection.msgdef.data,
    )


def _reason(error: Exception) -> str:
    """Return the library's explanation on one line."""
    return " ".join(str(error).split()) or type(error).__name__
