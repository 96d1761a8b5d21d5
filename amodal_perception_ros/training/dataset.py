"""Prepared images on disk and batches made of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceReader
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network.config import OUTPUT_STRIDE
from amodal_perception_ros.network.instance_heads.head import REGION_SCALE
from amodal_perception_ros.network.targets import Targets
from amodal_perception_ros.training.augment import Augmentation, augment
from amodal_perception_ros.training.records import RECORD_FORMAT, SEED_STRIDES, ImageRecord, make_records
from amodal_perception_ros.training.sources import AnySequence, OrderedSequence, open_training_data


class Batch(NamedTuple):
    """Input (see `AmodalNetwork.forward`) and targets of B images."""

    image: Tensor
    guidance: Tensor
    targets: Targets


class Split(NamedTuple):
    """Sequences to train on and to validate on."""

    train: list[SequenceReader | OrderedSequence]
    validation: list[SequenceReader | OrderedSequence]


def split_sequences(
    data: Sequence[Path],
    validation: Sequence[Path],
    holdout: int,
    format: str | None = None,
    images: Path | None = None,
) -> Split:
    """Read the sequences and choose which of them validate; those that cannot be read are named and left out.

    Args:
        data: data sets for training.
        validation: data set folders for validation; when empty, the last `holdout` sequences of `data` by name.
        holdout: number of sequences to hold out; at least one remains for training.
        format: of `data`, see `open_training_data`.
        images: folder of the pictures of `data`, see there.

    Raises:
        InputError: two sequences have one name, or none is left for training.
    """
    train = sorted(open_training_data(data, format, images), key=lambda reader: reader.name)
    held = open_training_data(validation)
    if not validation:
        count = min(holdout, len(train) - 1)
        train, held = train[: len(train) - count], train[len(train) - count :]
    _require_unique([reader.name for reader in train], "training")
    _require_unique([reader.name for reader in held], "validation")
    common = sorted({reader.name for reader in train} & {reader.name for reader in held})
    if common:
        raise InputError(f"sequences {common[:5]} are in the training and in the validation data; keep them apart")
    if not train:
        raise InputError("no sequence to train on")
    return Split(train, held)


def _require_unique(names: list[str], kind: str) -> None:
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise InputError(f"the {kind} data hold several sequences named {doubles[:5]}; names must be unique")


def prepare_cache(
    readers: Sequence[AnySequence], cache: Path, sizes: Sequence[tuple[int, int]], workers: int
) -> dict[tuple[int, int], list[Path]]:
    """Make the records that the cache lacks and return input size -> record files, in order.

    Records lie in CACHE/WIDTHxHEIGHT/SEQUENCE-FORMAT-FINGERPRINT/FRAME_CAMERA.npz: those of another data set with the
    same names are others. A frame is complete when FRAME.done exists, which names its cameras.
    """
    names = [f"{reader.name}-{RECORD_FORMAT}-{reader.fingerprint()[:12]}" for reader in readers]
    jobs = []
    for reader, name in zip(readers, names):
        folders = [_folder(cache, size, name) for size in sizes]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        missing = [i for i in range(len(reader)) if not all(_done(folder, i).exists() for folder in folders)]
        jobs += [(reader, folders, tuple(sizes), frame) for frame in missing]
    if jobs:
        _run_jobs(jobs, workers)
    return {
        size: [
            _record(folder, frame, camera)
            for reader, name in zip(readers, names)
            for folder in [_folder(cache, size, name)]
            for frame in range(len(reader))
            for camera in _done(folder, frame).read_text().splitlines()
        ]
        for size in sizes
    }


def _folder(cache: Path, size: tuple[int, int], name: str) -> Path:
    return cache / f"{size[0]}x{size[1]}" / name


def _done(folder: Path, frame: int) -> Path:
    return folder / f"{frame:05d}.done"


def _record(folder: Path, frame: int, camera: str) -> Path:
    return folder / f"{frame:05d}_{camera}.npz"


def _run_jobs(jobs: list[tuple], workers: int) -> None:
    progress = tqdm(total=len(jobs), desc="preparing frames", mininterval=5)
    if workers <= 1:
        for job in jobs:
            _prepare_frame(job)
            progress.update()
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_prepare_frame, jobs, chunksize=4):
                progress.update()
    progress.close()


def _prepare_frame(job: tuple[AnySequence, list[Path], tuple[tuple[int, int], ...], int]) -> None:
    reader, folders, sizes, frame = job
    sample = reader[frame]
    for folder, size in zip(folders, sizes):
        records = make_records(sample, size)
        for camera, record in records.items():
            record.save(_record(folder, frame, camera))
        done = _done(folder, frame)
        draft = done.with_suffix(".part")
        draft.write_text("\n".join(sorted(records)))
        os.replace(draft, done)


SEED_COVERAGE = 0.25
"""A seed cell belongs to the object that covers most of it, if that is at least this share."""


class BatchSource(Dataset):
    """Batches by step number. A batch depends on nothing but the seed and its step, so runs resume exactly.

    Args:
        files: record files.
        batch_size: images per batch.
        seed_stride: stride of the network's heat map.
        seed: of order and augmentation; None = in order and once, for validation.
        forced_seed_probability: see `TrainConfig`.
        augmentation: strength of the random changes; None = none.
        cells: number of cells an image at which objects' maps are given (see `sample_cells`); None = all, in order.
    """

    def __init__(
        self,
        files: list[Path],
        batch_size: int,
        seed_stride: int,
        seed: int | None = None,
        forced_seed_probability: float = 0.0,
        augmentation: Augmentation | None = None,
        cells: int | None = None,
    ) -> None:
        if not files:
            raise InputError("the data hold no annotated image")
        self.files, self.batch_size, self.seed_stride, self.seed = files, batch_size, seed_stride, seed
        self.forced_seed_probability, self.augmentation, self.cells = forced_seed_probability, augmentation, cells

    def __len__(self) -> int:
        return -(-len(self.files) // self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        """Return the batch of a step; steps go on beyond `len` into further epochs when a seed is given."""
        rng = np.random.default_rng((self.seed or 0, step))
        records = [ImageRecord.load(self.files[index]) for index in self._indices(step)]
        if self.augmentation is not None:
            records = [augment(record, rng, self.augmentation) for record in records]
        return collate(records, self.seed_stride, rng, self.forced_seed_probability, self.cells)

    def _indices(self, step: int) -> list[int]:
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        count = len(self.files)
        if self.seed is None:
            return [position for position in positions if position < count]
        return [int(_order(self.seed, position // count, count)[position % count]) for position in positions]


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch, count)).permutation(count)


def collate(
    records: list[ImageRecord],
    seed_stride: int,
    rng: np.random.Generator,
    forced_seed_probability: float,
    cells: int | None = None,
) -> Batch:
    """Stack records of one input size into a batch, objects padded to the largest number."""
    objects = max(1, *(len(record.classes) for record in records))
    images = torch.from_numpy(np.stack([record.image for record in records]))
    guidance = torch.from_numpy(np.stack([_guidance(record) for record in records]))
    coverages = [_pooled(record.visible, seed_stride // OUTPUT_STRIDE) for record in records]
    heats = [_heat(record, coverage, seed_stride) for record, coverage in zip(records, coverages)]
    seeds = [_seed_cells(record, seed_stride, images.shape[2] // seed_stride) for record in records]
    chosen = [sample_cells(record, rng, cells) for record in records]
    targets = Targets(
        stuff=_fraction([record.stuff for record in records]),
        log_depth=torch.from_numpy(np.stack([record.log_depth for record in records])).float(),
        cells=torch.from_numpy(np.stack(chosen)),
        valid=_padded([np.ones(len(record.classes), bool) for record in records], objects),
        classes=_padded([record.classes for record in records], objects),
        levels=_padded([record.levels for record in records], objects),
        boxes=_padded([record.boxes for record in records], objects),
        hidden_share=_padded([_hidden_share(record) for record in records], objects),
        visible=_padded([_at(record.visible, where) for record, where in zip(records, chosen)], objects).div_(255),
        amodal=_padded([_at(record.amodal, where) for record, where in zip(records, chosen)], objects).div_(255),
        object_log_depth=_padded([_at(r.object_log_depth, where) for r, where in zip(records, chosen)], objects),
        occludes=_padded([_widen(record.occludes, objects) for record in records], objects),
        heat=torch.from_numpy(np.stack(heats)),
        heat_weight=torch.from_numpy(np.stack([_heat_weight(*pair) for pair in zip(records, coverages)])),
        seed_object=torch.from_numpy(np.stack([_seed_object(*entry) for entry in zip(records, coverages, seeds)])),
        forced=torch.from_numpy(np.stack([_forced(s, h, rng, forced_seed_probability) for s, h in zip(seeds, heats)])),
    )
    return Batch(images.permute(0, 3, 1, 2).float().div_(255), guidance, targets)


CELLS_PER_OBJECT = 160
"""Of an object's region about so many cells are sampled; small ones are taken whole."""

BACKGROUND_CHANCE = 0.04
"""Relative chance of a cell that lies in no object's region."""


def sample_cells(record: ImageRecord, rng: np.random.Generator, count: int | None) -> np.ndarray:
    """Return (count,) int64 sorted flat cells, without repetition; None returns all.

    Cells near small objects are certain or likely to be taken, those of large objects and of the background are
    thinned (importance sampling as in PointRend, Kirillov et al. 2020, with boxes in place of uncertainty).
    """
    height, width = record.log_depth.shape
    if count is None or count >= height * width:
        return np.arange(height * width)
    chance = np.full((height, width), BACKGROUND_CHANCE, np.float32)
    reach = 0.5 * REGION_SCALE * record.boxes[:, 2:] * (width, height) + 1
    centre = record.boxes[:, :2] * (width, height)
    low = np.clip(np.floor(centre - reach), 0, None).astype(int)
    high = np.ceil(centre + reach).astype(int)
    for (x0, y0), (x1, y1) in zip(low, high):
        region = chance[y0:y1, x0:x1]
        np.maximum(region, min(1.0, CELLS_PER_OBJECT / max(1, region.size)), out=region)
    # The smallest of -log(uniform) / chance are a weighted sample without repetition (Efraimidis and Spirakis 2006).
    key = rng.standard_exponential(chance.size, dtype=np.float32) / chance.ravel()
    return np.sort(np.argpartition(key, count)[:count])


def _at(maps: np.ndarray, cells: np.ndarray) -> np.ndarray:
    return maps.reshape(len(maps), maps.shape[1] * maps.shape[2])[:, cells].astype(np.float32)


def _hidden_share(record: ImageRecord) -> np.ndarray:
    visible, amodal = (maps.sum((1, 2), dtype=np.int64) for maps in (record.visible, record.amodal))
    return (1 - visible / np.maximum(amodal, 1)).astype(np.float32)


def _seed_cells(record: ImageRecord, stride: int, columns: int) -> np.ndarray:
    seeds = record.seeds[:, SEED_STRIDES.index(stride)]
    return seeds[:, 0] * columns + seeds[:, 1]


def _seed_object(record: ImageRecord, coverage: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return (hs, ws) int64 object that covers most of each cell, at least `SEED_COVERAGE`, or has its core there."""
    if len(record.classes) == 0:
        return np.full(coverage.shape[1:], -1, np.int64)
    best = coverage.argmax(0)
    owner = np.where(coverage.max(0) >= SEED_COVERAGE * 255, best, -1)
    owner.ravel()[seeds] = np.arange(len(seeds))
    return owner


def _pooled(coverage: np.ndarray, ratio: int) -> np.ndarray:
    """Return (G, h / ratio, w / ratio) uint8 mean of (G, h, w) uint8 coverages."""
    shape = (coverage.shape[1] // ratio, coverage.shape[2] // ratio)
    total = np.zeros((len(coverage), *shape), np.uint16)
    for row in range(ratio):
        for column in range(ratio):
            total += coverage[:, row::ratio, column::ratio]
    return (total // ratio**2).astype(np.uint8)


def _guidance(record: ImageRecord) -> np.ndarray:
    height, width = record.image.shape[:2]
    out = np.zeros((2, height * width), np.float32)
    out[0, record.lidar_index] = record.lidar_inverse
    out[1, record.lidar_index] = 1
    return out.reshape(2, height, width)


MAX_SEED_SIGMA = 2.0
SEED_REACH = 8
"""Cells; beyond four standard deviations the Gaussian of a seed is nothing."""


def _heat(record: ImageRecord, coverages: np.ndarray, stride: int) -> np.ndarray:
    """Return the (hs, ws) float32 seed target: a Gaussian round each seed cell, limited to the visible part.

    Seeds mark visible cores, not amodal centres, so two objects never share one.

    Args:
        record: of the image.
        coverages: (G, hs, ws) uint8 visible coverage of the heat map's cells.
        stride: of the heat map.
    """
    height, width = coverages.shape[1:]
    heat = np.zeros((height, width), np.float32)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    areas = coverages.sum((1, 2), dtype=np.int64) / 255
    for coverage, area, (row, column) in zip(coverages, areas, record.seeds[:, SEED_STRIDES.index(stride)]):
        sigma = min(max(0.25 * np.sqrt(area), 0.5), MAX_SEED_SIGMA)
        near = np.s_[
            max(0, row - SEED_REACH) : row + SEED_REACH + 1, max(0, column - SEED_REACH) : column + SEED_REACH + 1
        ]
        distance = (rows - row)[near[0]] ** 2 + (columns - column)[:, near[1]] ** 2
        gaussian = np.minimum(np.exp(-distance / (2 * sigma**2)), 0.999)
        heat[near] = np.maximum(heat[near], gaussian * (coverage[near] > 0))
    number = SEED_STRIDES.index(stride)
    heat[record.seeds[:, number, 0], record.seeds[:, number, 1]] = 1
    return heat


def _heat_weight(record: ImageRecord, coverages: np.ndarray) -> np.ndarray:
    height, width = coverages.shape[1:]
    ratio = record.ignored.shape[0] // height
    ignored = record.ignored.reshape(height, ratio, width, ratio).any((1, 3))
    return np.where(ignored & ~(coverages > 0).any(0), np.float32(0), np.float32(1))


def _forced(seeds: np.ndarray, heat: np.ndarray, rng: np.random.Generator, probability: float) -> np.ndarray:
    forced = np.zeros(heat.size, np.float32)
    forced[seeds[rng.random(len(seeds)) < probability]] = 1
    return forced.reshape(1, *heat.shape)


def _fraction(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).float().div_(255)


def _widen(square: np.ndarray, count: int) -> np.ndarray:
    out = np.zeros((len(square), count), square.dtype)
    out[:, : len(square)] = square
    return out


def _padded(arrays: list[np.ndarray], count: int) -> Tensor:
    """Stack arrays (g, ...) with g <= count into (B, count, ...), zero padded."""
    out = np.zeros((len(arrays), count, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, values in enumerate(arrays):
        out[row, : len(values)] = values
    return torch.from_numpy(out)
