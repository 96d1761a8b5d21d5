"""Annotated sequences on disk in the layout of AmodalSynthDrive, extended by what its description leaves open.

The tree, file names and encodings are in docs/data-format.md. Names and encodings of images, panoptic and instance
labels, amodal masks, levels, semantic maps and flow follow the public loaders of AmodalSynthDrive (Sekkat et al.,
2024), so the real data set is read as it is; depth, calibration, odometry, IMU, GNSS, LiDAR, boxes, motion and BEV
occupancy are this project's and documented as such.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
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
        readers += read_sequences(path, rig, parts, lambda name, error: errors.append((name, error)))
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
        repairs, unknown: see `annotated.PredictionReader`; `unknown` holds SEQUENCE/NUMBER.

    Raises:
        DatasetError: there are no predictions, two of one name, or the truth has another format.
    """

    def __init__(self, path: Path | str, truth: Sequence[AnnotatedSequence]) -> None:
        self._path, self.repairs, self.unknown = Path(path), CauseCount(), []
        self._numbers: dict[str, list[int]] = {}
        self._readers: dict[str, SequenceReader] = {}
        known = {sequence.name: sequence for sequence in truth}
        for base, name in _find(self._path):
            sequence = known.get(name)
            if sequence is not None and not isinstance(sequence, SequenceReader):
                raise DatasetError(f"{path}: predictions of AmodalSynthDrive for truth of {sequence.classes.name}")
            rig = None if sequence is None else sequence.rig
            reader = SequenceReader(base, name, rig, _PREDICTED_PARTS, predicted=True, repairs=self.repairs)
            if name in self._readers:
                raise DatasetError(f"{path}: holds sequence '{name}' twice")
            self._readers[name], self._numbers[name] = reader, [] if sequence is None else sequence.numbers
            strange = sorted(set(reader.numbers) - set(self._numbers[name]))
            self.unknown += [f"{name}/{number:04d}" for number in strange]

    def read(self, sample: Sample) -> Prediction:
        """Return the prediction for a frame (see `annotated.PredictionReader`)."""
        reader = self._readers.get(sample.sequence)
        if reader is None:
            raise DatasetError(f"{self._path}: has no prediction for sequence '{sample.sequence}'")
        number = self._numbers[sample.sequence][sample.index]
        if number not in reader.numbers:
            raise DatasetError(
                f"{self._path}: has no prediction for frame {number} of sequence '{sample.sequence}'; "
                f"expected CAMERA_full_{number:04d}_ampano.png and .json"
            )
        predicted = reader[reader.numbers.index(number)]
        boxes = None if "boxes" in reader.missing else predicted.objects
        return Prediction(predicted.truth.cameras, boxes, predicted.bev)


def holds_sequences(path: Path) -> bool:
    """Return whether a path is a data set, split or sequence of this format, by folders and names of files."""
    return any(
        is_file(Layout(base, name).marker()) or any(base.glob(f"*/*/{name}/*_full_*")) for base, name in _search(path)
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
