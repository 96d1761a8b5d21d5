"""Every data set format that can be scored: which one a path holds, its sequences, and predictions for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from amodal_perception_ros.datasets import amodal_synth_drive
from amodal_perception_ros.datasets.amodal_panoptic import (
    BDD100K_APS,
    CLASS_FILE,
    KITTI_360_APS,
    PanopticPredictions,
    PanopticSequence,
    holds_labels,
    holds_own_classes,
    read_drives,
    read_images,
)
from amodal_perception_ros.datasets.amodal_synth_drive import PARTS, SequenceReader
from amodal_perception_ros.datasets.annotated import AnnotatedSequence, PredictionReader, undamaged
from amodal_perception_ros.datasets.coco import cocoa, cocoa_cls, kins
from amodal_perception_ros.datasets.coco.results import CocoPredictions
from amodal_perception_ros.datasets.coco.scenes import CocoSequence
from amodal_perception_ros.datasets.files import DatasetError, entries, is_file, is_folder, read_json
from amodal_perception_ros.labels import ClassList

_Open = Callable[[Path, Path | None, Collection[str]], Sequence[AnnotatedSequence]]


@dataclass(frozen=True)
class DatasetFormat:
    """How the data sets of one format are recognised and read.

    Attributes:
        name: what `--format` calls it.
        expects: what a path of this format holds, for messages.
        holds: whether the content of a path says that it has this format.
        sequences: (path, folder of the images or None, parts) -> its sequences.
        sequence: type of those.
        predictions: (path, truth of that type) -> stored predictions.
    """

    name: str
    expects: str
    holds: Callable[[Path], bool]
    sequences: _Open
    sequence: type
    predictions: Callable[[Path, Sequence[AnnotatedSequence]], PredictionReader]


def _sequences_of_folder(path: Path, images: Path | None, parts: Collection[str]) -> list[SequenceReader]:
    if images is not None:
        raise DatasetError(f"{images}: AmodalSynthDrive's images are in the data set itself; give no other folder")
    return amodal_synth_drive.readable_sequences([path], parts=parts)


def _panoptic(read: Callable[..., list[PanopticSequence]], classes: ClassList | None) -> _Open:
    """Return how to open a folder of panoptic labels: as drives or single images, of some classes or its own."""
    return lambda path, images, parts: undamaged(read(path, images, parts, classes))


def _is_named(path: Path) -> bool:
    """No content tells the formats of the same files and other classes apart."""
    return False


_LABELS = f"*_ampano.png with *_ampano.json; {CLASS_FILE} may name other classes"

_KNOWN = (
    DatasetFormat(
        "amodal-synth-drive",
        "images/CAMERA/SEQUENCE or amodal_panoptic_seg/CAMERA/SEQUENCE, also below train, val, test or full",
        amodal_synth_drive.holds_sequences,
        _sequences_of_folder,
        SequenceReader,
        amodal_synth_drive.StoredSequences,
    ),
    DatasetFormat(
        "kitti-360-aps",
        _LABELS,
        _is_named,
        _panoptic(read_drives, KITTI_360_APS),
        PanopticSequence,
        PanopticPredictions,
    ),
    DatasetFormat(
        "bdd100k-aps",
        _LABELS,
        _is_named,
        _panoptic(read_images, BDD100K_APS),
        PanopticSequence,
        PanopticPredictions,
    ),
    DatasetFormat(
        "amodal-panoptic",
        f"*_ampano.png with *_ampano.json, and {CLASS_FILE} for the classes",
        holds_own_classes,
        _panoptic(read_images, None),
        PanopticSequence,
        PanopticPredictions,
    ),
    DatasetFormat(
        "kins",
        "JSON with inmodal_seg, or a_segm and i_segm",
        kins.holds_kins,
        kins.read_kins,
        CocoSequence,
        CocoPredictions,
    ),
    DatasetFormat("cocoa", "JSON with regions", cocoa.holds_cocoa, cocoa.read_cocoa, CocoSequence, CocoPredictions),
    DatasetFormat(
        "cocoa-cls",
        "JSON with visible_mask or invisible_mask",
        cocoa_cls.holds_cocoa_cls,
        cocoa_cls.read_cocoa_cls,
        CocoSequence,
        CocoPredictions,
    ),
    DatasetFormat(
        "d2sa",
        "JSON with visible_mask or invisible_mask, of the D2S images",
        cocoa_cls.holds_d2sa,
        cocoa_cls.read_d2sa,
        CocoSequence,
        CocoPredictions,
    ),
)

FORMATS: dict[str, DatasetFormat] = {known.name: known for known in _KNOWN}
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
    known = _named(format) if format is not None else _detected(path)
    if known.sequence is CocoSequence and is_folder(path):
        raise DatasetError(f"{path}: is a folder; {known.name} is a file ({known.expects})")
    return list(known.sequences(path, images, parts))


def open_predictions(
    path: Path | str, truth: Sequence[AnnotatedSequence], format: str | None = None
) -> PredictionReader:
    """Return the reader of stored predictions for the frames of some sequences.

    They have the form of the truth's annotations; for KINS, COCOA, COCOA-cls and D2SA also that of COCO's results.

    Args:
        path: folder or file of the predictions.
        truth: the sequences to be scored, all of one format.
        format: one of `FORMATS`; None takes that of the truth.

    Raises:
        DatasetError: unknown format or another one than the truth's, or nothing there.
    """
    path = Path(path)
    candidates = FORMATS.values() if format is None else [_named(format)]
    for known in candidates:
        if all(isinstance(sequence, known.sequence) for sequence in truth):
            other = next((f.name for f in FORMATS.values() if f.sequence is not known.sequence and f.holds(path)), None)
            if other is None:
                return known.predictions(path, truth)
            format = other
            break
    kinds = sorted({sequence.classes.name for sequence in truth})
    form = "predictions" if format is None else f"predictions in the format {format}"
    raise DatasetError(f"{path}: {form} cannot be for data of {', '.join(kinds)}; they have the format of the data")


def _named(name: str) -> DatasetFormat:
    if name not in FORMATS:
        raise DatasetError(f"unknown format '{name}'; known are {', '.join(FORMATS)}")
    return FORMATS[name]


def _detected(path: Path) -> DatasetFormat:
    for known in FORMATS.values():
        if known.holds(path):
            return known
    if holds_labels(path):
        raise DatasetError(
            f"{path}: holds amodal panoptic labels of unknown classes; name the format (kitti-360-aps, bdd100k-aps) "
            f"or the classes in {path / CLASS_FILE}"
        )
    expected = "; ".join(f"{known.name} ({known.expects})" for known in FORMATS.values())
    raise DatasetError(f"{path}: {_found(path)}; known formats: {expected}")


def _found(path: Path) -> str:
    if is_file(path):
        if path.suffix == ".json":
            read_json(path)  # A damaged file is named with the place of the damage.
        return "a file of no known format"
    if not is_folder(path):
        return "does not exist"
    names = [entry.name for entry in entries(path)]
    return f"holds {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "is empty"
