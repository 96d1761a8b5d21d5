"""Writes annotated sequences: whole ones or nothing."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.annotation import write_scene
from amodal_perception_ros.datasets.derived import semantic_map, write_derived
from amodal_perception_ros.datasets.files import (
    DatasetError,
    is_file,
    locked,
    make_folder,
    replace_json,
    unwritable,
    write_json,
)
from amodal_perception_ros.datasets.sequence_json import frame_to_json, object_to_json, rig_to_json
from amodal_perception_ros.datasets.sequence_layout import BEV_CAMERA, SPLITS, Layout
from amodal_perception_ros.scene import CameraScene, Rig, Sample


class SequenceWriter:
    """Writes the samples of one sequence; use it as a context manager.

    Files go to a hidden folder beside the tree, which is locked for others; leaving the context moves them into place
    and writes `sequences/NAME.json` last. A sequence without that file does not exist for the reader, so an
    interrupted or failed run leaves nothing half-written behind.

    Args:
        root: folder of the data set; made when missing.
        split: "train", "val" or "test", which becomes a folder below the root; None for none.
        jpeg_quality: quality of the images, 1..100.
        info: JSON-able facts about the sequence (seed, generator settings) kept in `sequences/NAME.json`.
        derived: also write the labels that follow from others, for public loaders (see `derived`).

    Raises:
        DatasetError: a finished sequence of that name exists, another writer is at it, or a file cannot be written
            (disk full).
        ValueError: samples of several sequences or out of order, or a value that the format cannot hold (NaN in a
            reading, for example); the message names file and field.
    """

    def __init__(
        self,
        root: Path | str,
        split: str | None = None,
        jpeg_quality: int = 95,
        info: dict[str, Any] | None = None,
        derived: bool = True,
    ) -> None:
        if split is not None and split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, got '{split}'")
        if not 1 <= jpeg_quality <= 100:
            raise ValueError(f"JPEG quality is 1..100, got {jpeg_quality}")
        self._base = Path(root) / split if split else Path(root)
        self._quality, self._info, self._derived = jpeg_quality, dict(info or {}), derived
        self._partial: Layout | None = None
        self._rig: Rig | None = None
        self._frames = 0
        self._pieces: set[str] = {"calibration", "stamps"}
        self._lock = ExitStack()

    def __enter__(self) -> SequenceWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, sample: Sample) -> None:
        """Write the next frame; `sample.index` must count from 0."""
        if self._partial is None:
            self._begin(sample)
        layout = self._partial
        assert layout is not None
        if sample.sequence != layout.sequence or sample.index != self._frames:
            raise ValueError(
                f"expected frame {self._frames} of sequence '{layout.sequence}', "
                f"got frame {sample.index} of '{sample.sequence}'"
            )
        for name, image in sample.frame.images.items():
            codecs.write_image(layout.image(name, sample.index), image, self._quality)
        for name, scene in sample.truth.cameras.items():
            entries = write_scene(layout, name, sample.index, scene)
            if self._derived:
                write_derived(layout, name, sample.index, scene, entries, sample.moving)
        for name, flow in sample.flow.items():
            codecs.write_flow(layout.flow(name, sample.index), flow)
        _write_frame(layout, sample)
        self._write_bev(layout, sample)
        self._pieces |= _pieces(sample)
        self._frames += 1

    def close(self) -> None:
        """Move the sequence into place; without a written frame this does nothing."""
        if self._partial is None or self._rig is None:
            return
        partial, layout = self._partial, Layout(self._base, self._partial.sequence)
        folders = layout.folders([c.name for c in self._rig.cameras])
        try:
            # The folder of the markers comes first: it tells our data sets, whose other folders count only with one.
            layout.marker().parent.mkdir(parents=True, exist_ok=True)
            for folder in folders:
                _move(partial.base / folder, self._base / folder)
            content = {
                "name": layout.sequence,
                "frames": self._frames,
                "pieces": sorted(self._pieces),
                "rig": rig_to_json(self._rig),
                "info": self._info,
            }
            replace_json(layout.marker(), content)
        except BaseException as error:
            for folder in folders:
                shutil.rmtree(self._base / folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise unwritable(self._base, error) from error
            raise
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove what was written so far."""
        if self._partial is not None:
            shutil.rmtree(self._partial.base, ignore_errors=True)
            self._lock.close()
        # Other processes may still write there; the last one removes the common folder.
        with suppress(OSError):
            (self._base / ".partial").rmdir()
        self._partial = None

    def _begin(self, sample: Sample) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_\-]+", sample.sequence):
            raise ValueError(f"sequence name '{sample.sequence}' may hold letters, digits, _ and - only")
        if any(camera.name == BEV_CAMERA for camera in sample.frame.rig.cameras):
            raise ValueError(f"a camera may not be named '{BEV_CAMERA}': the picture from above has that name")
        partial = self._base / ".partial" / sample.sequence
        self._lock.enter_context(
            locked(partial.with_suffix(".lock"), f"{partial}: somebody else is writing this sequence; wait for its end")
        )
        self._partial, self._rig = Layout(partial, sample.sequence), sample.frame.rig
        marker = Layout(self._base, sample.sequence).marker()
        if is_file(marker):
            raise DatasetError(f"{marker}: the sequence exists already; delete this file to write it again")
        shutil.rmtree(partial, ignore_errors=True)
        for folder in self._partial.folders([c.name for c in self._rig.cameras]):
            make_folder(partial / folder)

    def _write_bev(self, layout: Layout, sample: Sample) -> None:
        index = sample.index
        if sample.bev is not None:
            bev = sample.bev
            codecs.write_bev(layout.bev(index), bev.visible, bev.amodal, bev.semantic, bev.evidence)
        if sample.bev_image is not None:
            codecs.write_image(layout.image(BEV_CAMERA, index), sample.bev_image, self._quality)
        if sample.bev_labels is not None:
            codecs.write_labels(layout.bev_labels(index), sample.bev_labels)
            if self._derived:
                codecs.write_classes(layout.semantic(BEV_CAMERA, index), semantic_map(sample.bev_labels))


def _write_frame(layout: Layout, sample: Sample) -> None:
    if sample.frame.lidar is not None:
        path = layout.lidar(sample.index)
        codecs.write_lidar(path, sample.frame.lidar, sample.point_segments, sample.point_rings)
    write_json(layout.frame(sample.index), frame_to_json(sample))
    write_json(layout.boxes(sample.index), [object_to_json(o) for o in sample.objects])


def _pieces(sample: Sample) -> set[str]:
    """Return the names of what a frame holds (see `SequenceReader.missing`).

    Boxes and depth of which nothing is known are empty lists and NaN in a sample; they do not count as held.
    """
    present = {
        "odometry": sample.frame.odom_from_base is not None,
        "depth": any(_has_depth(scene) for scene in sample.truth.cameras.values()),
        "levels": bool(sample.truth.cameras),
        "lidar": sample.frame.lidar is not None,
        "point_segments": sample.point_segments is not None,
        "point_rings": sample.point_rings is not None,
        "boxes": bool(sample.objects),
        "bev": sample.bev is not None,
        "bev_image": sample.bev_image is not None,
        "bev_labels": sample.bev_labels is not None,
        "flow": bool(sample.flow),
        "motion": sample.moving is not None,
        "imu": sample.imu is not None,
        "gnss": sample.gnss is not None,
    }
    return {piece for piece, there in present.items() if there}


def _has_depth(scene: CameraScene) -> bool:
    return any(np.isfinite(depth).any() for depth in (scene.depth, *(i.depth for i in scene.instances)))


def _move(source: Path, target: Path) -> None:
    """Put a folder in the place of another; an empty one leaves nothing."""
    shutil.rmtree(target, ignore_errors=True)
    if any(source.iterdir()):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
