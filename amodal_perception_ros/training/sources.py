"""The sequences that a training reads: of the simulator and AmodalSynthDrive, and of every other known format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceReader, holds_sequences, readable_sequences
from amodal_perception_ros.datasets.annotated import AnnotatedSequence
from amodal_perception_ros.datasets.composites import CompositedSequence, Donors
from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.datasets.formats import open_sequences
from amodal_perception_ros.datasets.visible_order import visible_order
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.labels import THINGS
from amodal_perception_ros.scene import CameraScene, Sample
from amodal_perception_ros.training.classes import class_map

OWN_FORMAT = "amodal-synth-drive"

_PARTS = ("images", "truth", "lidar")
"""What training needs of a frame."""


class OrderedSequence:
    """A sequence of another format, with the occlusion order that its masks show where its files state none.

    Args:
        sequence: of whatever format.

    Attributes:
        name, missing, info: those of the sequence.
    """

    def __init__(self, sequence: AnnotatedSequence) -> None:
        self._sequence = sequence
        self.name, self.missing = sequence.name, sequence.missing
        self.info: dict[str, Any] = sequence.info

    def __len__(self) -> int:
        return len(self._sequence)

    def __getitem__(self, index: int) -> Sample:
        sample = self._sequence[index]
        if "order" not in self.missing:
            return sample
        scenes = {camera: _with_visible_order(scene) for camera, scene in sample.truth.cameras.items()}
        return replace(sample, truth=replace(sample.truth, cameras=scenes))

    def fingerprint(self) -> str:
        """Return a hexadecimal digest that tells the sequence from others of its name."""
        return self._sequence.fingerprint()


AnySequence = SequenceReader | OrderedSequence | CompositedSequence


def open_training_data(
    paths: Sequence[Path], format: str | None = None, images: Path | None = None
) -> list[SequenceReader | OrderedSequence]:
    """Return the sequences of some data sets that have pictures; those that cannot be read are named and left out.

    Args:
        paths: data sets, folders or files.
        format: one of `datasets.formats.FORMATS` for all of them; None finds out by the content of each.
        images: folder of the pictures, for the data sets that keep them apart.

    Raises:
        InputError: nothing can be read, there are no pictures, or no class is one of the network's.
    """
    own = [path for path in paths if format == OWN_FORMAT or (format is None and holds_sequences(path))]
    sequences: list[SequenceReader | OrderedSequence] = []
    if own:
        sequences += readable_sequences(own, parts=_PARTS, needs=("images",))
    for path in paths:
        if path not in own:
            sequences += [OrderedSequence(sequence) for sequence in _with_pictures(path, format, images)]
    return sequences


def _with_pictures(path: Path, format: str | None, images: Path | None) -> list[AnnotatedSequence]:
    sequences = open_sequences(path, format, images, parts=_PARTS)
    if any("images" in sequence.missing for sequence in sequences):
        raise DatasetError(f"{path}: has no pictures; name their folder with --images")
    classes = sequences[0].classes
    known = class_map(classes)
    if not known.things:
        names = ", ".join(label.name for label in THINGS)
        raise InputError(f"{path}: no class of {classes.name} is one of the network's things ({names})")
    if known.unknown:
        print(f"{path.name}: neither object nor background are {', '.join(known.unknown)}", flush=True)
    return sequences


def _with_visible_order(scene: CameraScene) -> CameraScene:
    order, _ = visible_order({i.instance_id: (i.visible_mask, i.amodal_mask) for i in scene.instances})
    return replace(scene, order=order)


def composited(sequences: Sequence[SequenceReader | OrderedSequence], copies: int) -> list[CompositedSequence]:
    """Return clip-art copies of the sequences with a calibration, without which no place of an object is plausible.

    Raises:
        InputError: copies are asked for, and none of the sequences has a calibration.
    """
    calibrated = [s for s in sequences if isinstance(s, SequenceReader) and "calibration" not in s.missing]
    if copies and not calibrated:
        raise InputError("clip_art needs training data with calibration, and none of it has one; set clip_art to 0")
    donors = Donors(calibrated)
    return [CompositedSequence(reader, donors, seed) for reader in calibrated for seed in range(copies)]
