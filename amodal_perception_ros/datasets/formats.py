"""Every data set format that can be scored: which one a path holds, its sequences, and predictions for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from amodal_perception_ros.datasets import amodal_synth_drive
from amodal_perception_ros.datasets.amodal_synth_drive import PARTS
from amodal_perception_ros.datasets.annotated import AnnotatedSequence, PredictionReader
from amodal_perception_ros.datasets.files import DatasetError, entries, is_file, is_folder


@dataclass(frozen=True)
class DatasetFormat:
    """How the data sets of one format are recognised and read.

    Attributes:
        name: what `--format` calls it.
        expects: what a path of this format holds, for messages.
        holds: whether the content of a path says that it has this format.
        sequences: (path, folder of the images or None, parts) -> its sequences.
        predictions: (path, truth) -> stored predictions in this format.
    """

    name: str
    expects: str
    holds: Callable[[Path], bool]
    sequences: Callable[[Path, Path | None, Collection[str]], Sequence[AnnotatedSequence]]
    predictions: Callable[[Path, Sequence[AnnotatedSequence]], PredictionReader]


_KNOWN = (
    DatasetFormat(
        "amodal-synth-drive",
        "images/CAMERA/SEQUENCE or amodal_panoptic_seg/CAMERA/SEQUENCE, also below train, val, test or full",
        amodal_synth_drive.holds_sequences,
        lambda path, images, parts: amodal_synth_drive.readable_sequences([path], parts=parts),
        amodal_synth_drive.StoredSequences,
    ),
)

FORMATS: dict[str, DatasetFormat] = {format_.name: format_ for format_ in _KNOWN}
"""Name -> format."""


def open_sequences(
    path: Path | str, format: str | None = None, images: Path | None = None, parts: Collection[str] = PARTS
) -> list[AnnotatedSequence]:
    """Return the annotated sequences of a data set.

    Sequences that cannot be read are named and counted on standard error and left out.

    Args:
        path: folder or file of the data set.
        format: one of `FORMATS`; None finds out by the content.
        images: folder of the images where annotations and images lie apart.
        parts: what the samples of sequences hold, any of `PARTS`.

    Raises:
        DatasetError: unknown format, nothing there, or nothing that can be read.
    """
    path = Path(path)
    return list(_format_of(path, format).sequences(path, images, parts))


def open_predictions(
    path: Path | str, truth: Sequence[AnnotatedSequence], format: str | None = None
) -> PredictionReader:
    """Return the reader of stored predictions for the frames of some sequences.

    Args:
        path: folder or file of the predictions.
        truth: the sequences to be scored.
        format: one of `FORMATS`; None finds out by the content.

    Raises:
        DatasetError: unknown format, or nothing there.
    """
    path = Path(path)
    return _format_of(path, format).predictions(path, truth)


def _format_of(path: Path, name: str | None) -> DatasetFormat:
    if name is not None:
        if name not in FORMATS:
            raise DatasetError(f"unknown format '{name}'; known are {', '.join(FORMATS)}")
        return FORMATS[name]
    for known in FORMATS.values():
        if known.holds(path):
            return known
    expected = "; ".join(f"{known.name} ({known.expects})" for known in FORMATS.values())
    raise DatasetError(f"{path}: {_found(path)}; known formats: {expected}")


def _found(path: Path) -> str:
    if is_file(path):
        return "a file of no known format"
    if not is_folder(path):
        return "does not exist"
    names = [entry.name for entry in entries(path)]
    return f"holds {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "is empty"
