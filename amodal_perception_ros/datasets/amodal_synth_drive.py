"""Annotated sequences on disk in the layout of AmodalSynthDrive, extended by what its description leaves open.

The tree, file names and encodings are in docs/data-format.md. Names and encodings of images, panoptic and instance
labels, amodal masks, levels, semantic maps and flow follow the public loaders of AmodalSynthDrive (Sekkat et al.,
2024), so the real data set is read as it is; depth, calibration, odometry, IMU, GNSS, LiDAR, boxes, motion and BEV
occupancy are this project's and documented as such.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from amodal_perception_ros.datasets.files import DatasetError, entries, is_folder
from amodal_perception_ros.datasets.sequence_layout import BEV_CAMERA, SPLITS
from amodal_perception_ros.datasets.sequence_reader import PARTS, SequenceReader
from amodal_perception_ros.datasets.sequence_writer import SequenceWriter
from amodal_perception_ros.scene import Rig

__all__ = [
    "PARTS",
    "DatasetError",
    "SequenceReader",
    "SequenceWriter",
    "read_sequence",
    "read_sequences",
    "readable_sequences",
]


def read_sequences(
    path: Path | str,
    rig: Rig | None = None,
    parts: Collection[str] = PARTS,
    on_error: Callable[[str, DatasetError], object] | None = None,
) -> list[SequenceReader]:
    """Return the sequences of a data set, sorted by name within each split.

    Args:
        path: folder of the data set or of one split of it, or FOLDER/NAME for a single sequence.
        rig: calibration for data sets that have none (the public AmodalSynthDrive); else the stored one is used.
        parts: what the samples hold, any of `PARTS`; files of other parts are not touched.
        on_error: called with name and error for a sequence whose description cannot be read, which is then left out;
            None raises the error.

    Raises:
        DatasetError: there is no sequence, or one cannot be read.
    """
    path = Path(path)
    found = [(base, name) for base in _bases(path) for name in _names(base)]
    found = found or [(base, path.name) for base in _bases(path.parent) if path.name in _names(base)]
    if not found:
        state = "holds no finished sequence" if is_folder(path) else "does not exist"
        raise DatasetError(f"{path}: {state}; expected images/CAMERA/SEQUENCE/*_rgb.jpg in it or in a split of it")
    readers = []
    for base, name in found:
        try:
            readers.append(SequenceReader(base, name, rig, parts))
        except DatasetError as error:
            if on_error is None:
                raise
            on_error(name, error)
    return readers


def read_sequence(path: Path | str, rig: Rig | None = None, parts: Collection[str] = PARTS) -> SequenceReader:
    """Return the only sequence at a path (see `read_sequences`); raises DatasetError naming all where several are."""
    readers = read_sequences(path, rig, parts)
    if len(readers) > 1:
        names = ", ".join(reader.name for reader in readers[:5])
        raise DatasetError(
            f"{path}: holds {len(readers)} sequences ({names}, ...); choose one as {path}/{readers[0].name}"
        )
    return readers[0]


def readable_sequences(
    paths: Iterable[Path | str], rig: Rig | None = None, parts: Collection[str] = PARTS
) -> list[SequenceReader]:
    """Return the sequences of some data sets whose files of these parts are all there (see `SequenceReader.check`).

    The others are named and counted on standard error.

    Args:
        paths: data sets, see `read_sequences`.
        rig: calibration for those without one.
        parts: what the samples hold, any of `PARTS`.

    Raises:
        DatasetError: there is no sequence at one of the paths, or none of all can be read.
    """
    errors: list[tuple[str, DatasetError]] = []
    readers = []
    for path in paths:
        for reader in read_sequences(path, rig, parts, lambda name, error: errors.append((name, error))):
            try:
                reader.check()
                readers.append(reader)
            except DatasetError as damage:
                errors.append((reader.name, damage))
    total = len(readers) + len(errors)
    for number, (name, cause) in enumerate(errors, 1):
        print(f"skipped {number} of {total} sequences: {name}: {cause}", file=sys.stderr, flush=True)
    if errors and not readers:
        raise DatasetError(f"none of {total} sequences can be read; the last one is {errors[-1][0]}: {errors[-1][1]}")
    return readers


def _bases(root: Path) -> list[Path]:
    candidates = [root, root / "full"] + [root / split for split in SPLITS] + [root / s / "full" for s in SPLITS]
    return [base for base in candidates if is_folder(base / "images")]


def _names(base: Path) -> list[str]:
    if is_folder(base / "sequences"):
        return [path.stem for path in entries(base / "sequences") if path.suffix == ".json"]
    cameras = [path for path in entries(base / "images") if path.name != BEV_CAMERA and is_folder(path)]
    return sorted({path.name for camera in cameras for path in entries(camera) if is_folder(path)})
