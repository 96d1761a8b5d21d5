"""What every reader of annotated images gives, whatever its file format: sequences of `scene.Sample`.

A data set of single images is a list of sequences of one frame. Truth and predictions have the same form.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.labels import ClassList
from amodal_perception_ros.scene import AmodalObject, BevOccupancy, CameraScene, Sample

CAMERA = "image"
"""Name of the only camera of a data set of single pictures."""

NOMINAL_PERIOD_NS = 100_000_000
"""Time between the frames of drives whose stamps are unknown [ns]."""


class AnnotatedSequence(Protocol):
    """One drive, or one single image, as a list of samples; reads files when a sample is asked for.

    Attributes:
        name: unique in the data set; for a single image its file name without the ending.
        classes: what class ids mean.
        missing: pieces that the data set lacks; see `SequenceReader.missing`. "segments" is the segmentation of every
            pixel, "order" who hides whom.
        repairs: what was corrected or dropped while reading, with file and instance.
        info: what is known of the making; "resolved" may hold {"weather": ..., "layout": ...}.
    """

    name: str
    classes: ClassList
    missing: tuple[str, ...]
    repairs: CauseCount
    info: dict[str, Any]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def fingerprint(self) -> str:
        """Return a hexadecimal digest that tells the sequence from others of its name, without decoding its files."""
        ...


class CheckedSequence(Protocol):
    """A sequence that can look at its files without decoding them."""

    name: str
    repairs: CauseCount

    def __len__(self) -> int: ...

    def check(self) -> None:
        """Raise DatasetError naming the file that is missing, truncated or wrong."""
        ...


S = TypeVar("S", bound=CheckedSequence)


def undamaged(sequences: Iterable[S], errors: Iterable[tuple[str, DatasetError]] = ()) -> list[S]:
    """Return the sequences whose files are all there.

    The others are named on standard error and counted in the `repairs` of the first sequence that is whole.

    Args:
        sequences: those that could be opened.
        errors: name and error of those that could not.

    Raises:
        DatasetError: there are some, and none can be read.
    """
    whole, damaged, lost = [], list(errors), CauseCount()
    for sequence in sequences:
        try:
            sequence.check()
            whole.append(sequence)
        except DatasetError as damage:
            damaged.append((sequence.name, damage))
            lost.note("frames of such sequences", sequence.name, len(sequence))
    total = len(whole) + len(damaged)
    for number, (name, cause) in enumerate(damaged, 1):
        print(f"skipped {number} of {total} sequences: {name}: {cause}", file=sys.stderr, flush=True)
    for name, cause in damaged if whole else ():
        whole[0].repairs.note("sequences that cannot be read, left out", f"{name}: {cause}")
    if whole:
        whole[0].repairs.merge(lost)
    if damaged and not whole:
        raise DatasetError(f"none of {total} sequences can be read; the last one is {damaged[-1][0]}: {damaged[-1][1]}")
    return whole


@dataclass(eq=False)
class Prediction:
    """What a program says about one frame.

    Attributes:
        cameras: camera name -> scene, of the classes of the truth.
        objects: boxes in odom, or None where the program gives none.
        bev: occupancy, or None where the program gives none.
    """

    cameras: dict[str, CameraScene]
    objects: list[AmodalObject] | None = None
    bev: BevOccupancy | None = None


class PredictionReader(Protocol):
    """Stored predictions for the frames of a data set.

    Attributes:
        repairs: what was corrected or dropped while reading, with file and instance.
        unknown: predicted frames that the truth lacks and that are not scored, by cause: "unknown_sequence",
            "unknown_frame" (of a sequence that it has; any single image), "unknown_camera" (of frames that it has);
            "skipped_sequence" and "skipped_frame" where the truth is on disk too, but was left out.
    """

    repairs: CauseCount
    unknown: CauseCount

    def read(self, sample: Sample) -> Prediction:
        """Return the prediction for a frame.

        Raises:
            DatasetError: there is none, or it cannot be read; the message names file and instance.
        """
        ...
