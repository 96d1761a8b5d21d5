"""The images that a method gets most wrong: what is missed, invented and put into the wrong order."""

from __future__ import annotations

from dataclasses import dataclass, field


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
