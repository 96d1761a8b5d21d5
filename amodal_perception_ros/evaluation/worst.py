"""The images that a method gets most wrong: what is missed, invented and put into the wrong order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from amodal_perception_ros.evaluation.metrics.order import matched_edges
from amodal_perception_ros.evaluation.pairs import ScenePair
from amodal_perception_ros.scene import CameraScene

KEPT = 20
"""How many of the worst images are kept."""


@dataclass(frozen=True)
class ImageErrors:
    """What is wrong in one image.

    Attributes:
        sequence, index, camera: where the image is.
        missed: ids of true objects that are scored and have no match.
        invented: ids of predictions that are false positives.
        order_errors: (occluder, occludee) ids of true order edges whose objects are both matched, without a predicted
            edge of the same direction.
    """

    sequence: str
    index: int
    camera: str
    missed: tuple[int, ...] = field(default=())
    invented: tuple[int, ...] = field(default=())
    order_errors: tuple[tuple[int, int], ...] = field(default=())

    @property
    def count(self) -> int:
        """Number of errors, by which images are ranked."""
        return len(self.missed) + len(self.invented) + len(self.order_errors)


@dataclass(eq=False)
class WorstImage:
    """One of the worst images, read again to be drawn.

    Attributes:
        errors: what is wrong in it.
        image: (H, W, 3) uint8 RGB picture, or None where the data set holds none.
        truth, predicted: the scenes.
    """

    errors: ImageErrors
    image: np.ndarray | None
    truth: CameraScene
    predicted: CameraScene


def image_errors(pair: ScenePair, sequence: str, index: int) -> ImageErrors:
    """Return what is wrong in one matched image.

    Example: the truth has cars 26001 (in front of) 26002 and a person 24001; the prediction has both cars as 26007 and
    26008 with the order "26008 hides 26007", and a truck 27001 where nothing is. If 26007 matches 26001 and 26008
    matches 26002, then 24001 is missed, 27001 invented and (26001, 26002) an order error: three errors.
    """
    true_ids = [instance.instance_id for instance in pair.truth.instances]
    predicted_ids = [instance.instance_id for instance in pair.predicted.instances]
    claimed = set(pair.predicted.edges)
    return ImageErrors(
        sequence=sequence,
        index=index,
        camera=pair.truth.scene.camera.name,
        missed=tuple(true_ids[i] for i in np.flatnonzero(pair.counted & (pair.match < 0))),
        invented=tuple(predicted_ids[j] for j in pair.false_positives),
        order_errors=tuple((true_ids[a], true_ids[b]) for (a, b), edge in matched_edges(pair) if edge not in claimed),
    )


def keep_worst(images: Iterable[ImageErrors]) -> list[ImageErrors]:
    """Return the `KEPT` images with the most errors, none without; equally many errors keep the given order."""
    return sorted((image for image in images if image.count), key=lambda image: -image.count)[:KEPT]
