"""Sequences of clip-art composites, made of any annotated sequences when they are read, or written as a data set."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceReader, SequenceWriter, readable_sequences
from amodal_perception_ros.datasets.clip_art import composite_sample, sample_cutouts
from amodal_perception_ros.datasets.cutouts import Cutout, modal_scene
from amodal_perception_ros.datasets.files import read_json
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.scene import Sample

OBJECTS = (1, 5)
"""Least and largest number of objects to paste into an image."""

_DONOR_FRAMES = 4


class Donors:
    """Sequences that pasted objects come from."""

    def __init__(self, readers: Sequence[SequenceReader]) -> None:
        self._readers = list(readers)

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digest of the sequences."""
        return hashlib.sha256("".join(reader.fingerprint() for reader in self._readers).encode()).hexdigest()

    def cutouts(self, rng: np.random.Generator) -> list[Cutout]:
        """Return the fully visible objects of a random frame."""
        reader = self._readers[int(rng.integers(len(self._readers)))]
        return sample_cutouts(reader[int(rng.integers(len(reader)))])


class CompositedSequence:
    """A sequence with objects of other sequences pasted into every frame: `len`, `sequence[i] -> Sample`.

    A frame depends on nothing but the seed, the sequences and its index.

    Args:
        reader: the targets.
        donors: where the pasted objects come from.
        seed: of everything random.
        objects: least and largest number of objects to try per image.
        modal: forget the amodal masks of the data, so that the truth comes from modal labels alone.

    Attributes:
        name: NAME_clipSEED.
        counts: objects "pasted" and rejected by cause in the frames read so far.
    """

    def __init__(
        self,
        reader: SequenceReader,
        donors: Donors,
        seed: int = 0,
        objects: tuple[int, int] = OBJECTS,
        modal: bool = False,
    ) -> None:
        self.name, self.counts = f"{reader.name}_clip{seed}", Counter[str]()
        self._reader, self._donors, self._seed = reader, donors, seed
        self._objects, self._modal = objects, modal

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([self._seed, index, *self._reader.name.encode()])
        sample = self._reader[index]
        if self._modal:
            scenes = {camera: modal_scene(scene) for camera, scene in sample.truth.cameras.items()}
            sample = replace(sample, truth=replace(sample.truth, cameras=scenes))
        pool = [cutout for _ in range(_DONOR_FRAMES) for cutout in self._donors.cutouts(rng)]
        done, happened = composite_sample(sample, pool, rng, self._objects)
        self.counts.update(happened)
        return replace(done, sequence=self.name)

    def fingerprint(self) -> str:
        """Return a hexadecimal digest of the sequences and settings behind the composites."""
        parts = (self._reader.fingerprint(), self._donors.fingerprint, self._seed, self._objects, self._modal)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def make_composites(
    data: Sequence[Path], out: Path, seed: int = 0, objects: tuple[int, int] = OBJECTS, modal: bool = False
) -> Counter[str]:
    """Write a composite of every frame of every sequence; finished sequences are skipped.

    Args:
        data: data set folders.
        out: folder of the new data set, none of `data`.
        seed: of everything random.
        objects: least and largest number of objects to try per image.
        modal: forget the amodal masks of the data, so that the truth comes from modal labels alone.

    Returns:
        How many objects were "pasted", and how many were rejected by cause.

    Raises:
        InputError: a number is out of range, `out` is one of `data` or holds composites of other settings, or two
            sequences have one name.
        DatasetError: there is no sequence, or one lacks its calibration.
    """
    if not 0 <= objects[0] <= objects[1]:
        raise InputError(f"objects per image {objects[0]}-{objects[1]}: expected 0 <= least <= largest")
    if any(Path(out).resolve() == Path(path).resolve() for path in data):
        raise InputError(f"{out}: composites cannot be written into the data they are made of")
    if seed < 0:
        raise InputError(f"seed {seed}: expected 0 or more")
    readers = readable_sequences(data, parts=("images", "truth", "lidar"), needs=("images", "calibration"))
    names = [reader.name for reader in readers]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise InputError(f"several sequences are named {doubles[:5]}; give data sets with different seeds")
    donors, counts = Donors(readers), Counter[str]()
    with tqdm(total=sum(map(len, readers)), unit="frame", disable=not sys.stderr.isatty()) as bar:
        for reader in readers:
            sequence = CompositedSequence(reader, donors, seed, objects, modal)
            info = {"made_from": reader.name, "seed": seed, "objects": list(objects), "modal": modal}
            if _is_finished(Path(out) / "sequences" / f"{sequence.name}.json", info):
                bar.update(len(sequence))
                continue
            with SequenceWriter(out, info=info) as writer:
                for index in range(len(sequence)):
                    writer.write(sequence[index])
                    bar.update()
            counts.update(sequence.counts)
    return counts


def _is_finished(marker: Path, info: dict[str, object]) -> bool:
    """Whether a sequence is written already; raises InputError where that was done with other settings."""
    if not marker.is_file():
        return False
    earlier = dict(read_json(marker)).get("info")
    if earlier != info:
        raise InputError(f"{marker}: made with other settings ({earlier}); choose another folder")
    return True
