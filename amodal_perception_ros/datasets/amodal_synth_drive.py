"""Annotated sequences on disk in the layout of AmodalSynthDrive, extended by what its description leaves open.

The tree, file names and encodings are in docs/data-format.md. Names and encodings of images, panoptic and instance
labels, amodal masks, levels, semantic maps and flow follow the public loaders of AmodalSynthDrive (Sekkat et al.,
2024), so the real data set is read as it is; depth, calibration, odometry, IMU, GNSS, LiDAR, boxes, motion and BEV
occupancy are this project's and documented as such.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from glob import escape
from pathlib import Path

from amodal_perception_ros.datasets.annotated import AnnotatedSequence, Prediction, undamaged
from amodal_perception_ros.datasets.files import DatasetError, entries, is_file, is_folder
from amodal_perception_ros.datasets.sequence_layout import BEV_CAMERA, SPLITS, Layout
from amodal_perception_ros.datasets.sequence_reader import PARTS, SequenceReader
from amodal_perception_ros.datasets.sequence_writer import SequenceWriter
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.scene import Rig, Sample

__all__ = [
    "PARTS",
    "DatasetError",
    "SequenceReader",
    "SequenceWriter",
    "StoredSequences",
    "holds_sequences",
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
    readers = []
    for base, name in _find(Path(path)):
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
    paths: Iterable[Path | str],
    rig: Rig | None = None,
    parts: Collection[str] = PARTS,
    needs: Collection[str] = (),
) -> list[SequenceReader]:
    """Return the sequences of some data sets whose files of these parts are all there (see `SequenceReader.check`).

    The others are named and counted on standard error.

    Args:
        paths: data sets, see `read_sequences`.
        rig: calibration for those without one.
        parts: what the samples hold, any of `PARTS`.
        needs: pieces (see `SequenceReader.missing`) that a sequence must not lack.

    Raises:
        DatasetError: there is no sequence at one of the paths, or none of all can be read.
    """
    errors: list[tuple[str, DatasetError]] = []
    readers = []
    for path in paths:
        for reader in read_sequences(path, rig, parts, lambda name, error: errors.append((name, error))):
            try:
                reader.require(*needs)
                readers.append(reader)
            except DatasetError as lack:
                errors.append((reader.name, lack))
    return undamaged(readers, errors)


_BASE_FOLDERS = ("images", "amodal_panoptic_seg")
_PREDICTED_PARTS = ("truth", "boxes", "bev")


class StoredSequences:
    """Predictions as sequences of this format: written by `SequenceWriter`, or published panoptic files alone.

    A frame is found by sequence, camera and the number in the names of its files.

    Args:
        path: folder of the predictions, see `read_sequences`.
        truth: sequences of this format that they are for.

    Attributes:
        repairs, unknown: see `annotated.PredictionReader`.

    Raises:
        DatasetError: there are no predictions, or two of one sequence.
    """

    def __init__(self, path: Path | str, truth: Sequence[AnnotatedSequence]) -> None:
        self._path, self.repairs, self.unknown = Path(path), CauseCount(), CauseCount()
        self._truth = {sequence.name: sequence for sequence in truth if isinstance(sequence, SequenceReader)}
        self._readers: dict[str, SequenceReader] = {}
        skipped = {name for base in {sequence.base for sequence in self._truth.values()} for name in _names(base)}
        for base, name in _find(self._path):
            if name in self._readers:
                raise DatasetError(f"{path}: holds sequence '{name}' twice")
            if name not in self._truth:
                cause = "skipped_sequence" if name in skipped else "unknown_sequence"
                self.unknown.note(cause, name, len(SequenceReader(base, name, predicted=True)))
                continue
            rig, numbers = self._truth[name].rig, set(self._truth[name].numbers)
            reader = SequenceReader(base, name, rig, _PREDICTED_PARTS, predicted=True, repairs=self.repairs)
            self._readers[name] = reader
            for camera in set(reader.cameras) - {camera.name for camera in rig.cameras}:
                self.unknown.note(
                    "unknown_camera", f"{name} camera {camera}", len(numbers.intersection(reader.numbers))
                )
            for number in reader.numbers:
                self.unknown.note("unknown_frame", f"{name} frame {number:04d}", number not in numbers)

    def read(self, sample: Sample) -> Prediction:
        """Return the prediction for a frame (see `annotated.PredictionReader`)."""
        name, number = sample.sequence, self._truth[sample.sequence].numbers[sample.index]
        reader = self._readers.get(name)
        numbers = [] if reader is None else reader.numbers
        if reader is None or number not in numbers:
            camera = next(iter(sample.truth.cameras), "CAMERA")
            base = self._path if reader is None else reader.base
            file = Layout(base, name).labels(camera, number)
            raise DatasetError(f"{self._path}: no prediction for frame {number:04d} of '{name}'; expected {file}")
        predicted = reader[numbers.index(number)]
        absent = [camera for camera in sample.truth.cameras if camera not in predicted.truth.cameras]
        if absent:
            file = Layout(reader.base, name).labels(absent[0], number)
            raise DatasetError(f"{file}: no prediction of camera '{absent[0]}' for frame {number:04d} of '{name}'")
        boxes = None if "boxes" in reader.missing else predicted.objects
        return Prediction(predicted.truth.cameras, boxes, predicted.bev)


def holds_sequences(path: Path) -> bool:
    """Return whether a path is a data set, split or sequence of this format, by folders and names of files."""
    return any(
        is_file(Layout(base, name).marker()) or any(base.glob(f"*/*/{escape(name)}/*_full_*"))
        for base, name in _search(path)
    )


def _find(path: Path) -> list[tuple[Path, str]]:
    found = _search(path)
    if not found:
        state = "is a file" if is_file(path) else "holds no finished sequence" if is_folder(path) else "does not exist"
        raise DatasetError(
            f"{path}: {state}; expected images/CAMERA/SEQUENCE/*_rgb.jpg or amodal_panoptic_seg/CAMERA/SEQUENCE/"
            "*_ampano.png in it or in a split of it"
        )
    return found


def _search(path: Path) -> list[tuple[Path, str]]:
    found = [(base, name) for base in _bases(path) for name in _names(base)]
    return found or [(base, path.name) for base in _bases(path.parent) if path.name in _names(base)]


def _bases(root: Path) -> list[Path]:
    candidates = [root, root / "full"] + [root / split for split in SPLITS] + [root / s / "full" for s in SPLITS]
    return [base for base in candidates if any(is_folder(base / kind) for kind in _BASE_FOLDERS)]


def _names(base: Path) -> list[str]:
    if is_folder(base / "sequences"):
        return [path.stem for path in entries(base / "sequences") if path.suffix == ".json"]
    kinds = [base / kind for kind in _BASE_FOLDERS if is_folder(base / kind)]
    cameras = [path for kind in kinds for path in entries(kind) if path.name != BEV_CAMERA and is_folder(path)]
    return sorted({path.name for camera in cameras for path in entries(camera) if is_folder(path)})
