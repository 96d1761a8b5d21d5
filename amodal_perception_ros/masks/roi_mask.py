"""Binary masks as a region of interest (ROI) and run lengths: small, exact and allowed to leave the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_MAX_PIXELS = 1 << 31


@dataclass(frozen=True, eq=False)
class RoiMask:
    """A binary mask in image coordinates.

    Attributes:
        x_offset, y_offset: top-left pixel of the ROI; negative when the mask leaves the image.
        width, height: size of the ROI in pixels; 0 x 0 is the empty mask.
        counts: (n,) uint32 COCO run lengths of the ROI: column-major, the first run counts zeros.
    """

    x_offset: int
    y_offset: int
    width: int
    height: int
    counts: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", np.ascontiguousarray(self.counts, np.uint32))
        if self.width < 0 or self.height < 0:
            raise ValueError(f"mask ROI size {self.width} x {self.height} is negative")
        if self.width * self.height >= _MAX_PIXELS:
            raise ValueError(f"mask ROI size {self.width} x {self.height} is not below {_MAX_PIXELS} pixels")
        total = int(self.counts.sum(dtype=np.int64))
        if total != self.width * self.height:
            raise ValueError(
                f"run lengths cover {total} pixels, but the ROI {self.width} x {self.height} "
                f"has {self.width * self.height}"
            )

    @classmethod
    def empty(cls) -> RoiMask:
        """Return the mask without pixels."""
        return cls(0, 0, 0, 0, np.zeros(0, np.uint32))

    @classmethod
    def from_array(cls, mask: np.ndarray, x_offset: int = 0, y_offset: int = 0) -> RoiMask:
        """Encode a (H, W) boolean array whose top-left pixel lies at the offset; the ROI is made tight."""
        mask = np.asarray(mask, bool)
        if mask.ndim != 2:
            raise ValueError(f"a mask is a (H, W) array, got shape {mask.shape}")
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8)) if mask.size else (0, 0, 0, 0)
        if width == 0:
            return cls.empty()
        roi = mask[top : top + height, left : left + width]
        return cls(x_offset + left, y_offset + top, width, height, run_lengths(roi))

    def roi(self) -> np.ndarray:
        """Return the ROI as a (height, width) boolean array."""
        values = np.zeros(self.counts.size, bool)
        values[1::2] = True
        return np.repeat(values, self.counts).reshape(self.width, self.height).T

    def to_array(self, height: int, width: int) -> np.ndarray:
        """Return the (height, width) boolean image of the mask; parts outside that image are cut off."""
        return self.window(0, 0, width, height)

    def window(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return the (height, width) boolean array of the mask seen through a window at pixel (x, y)."""
        out = np.zeros((height, width), bool)
        left, top = max(x, self.x_offset), max(y, self.y_offset)
        right = min(x + width, self.x_offset + self.width)
        bottom = min(y + height, self.y_offset + self.height)
        if left < right and top < bottom:
            out[top - y : bottom - y, left - x : right - x] = self.roi()[
                top - self.y_offset : bottom - self.y_offset, left - self.x_offset : right - self.x_offset
            ]
        return out

    @property
    def area(self) -> int:
        """Number of pixels of the mask."""
        return int(self.counts[1::2].sum(dtype=np.int64))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """ROI as (left, top, right, bottom) pixels, right and bottom exclusive."""
        return self.x_offset, self.y_offset, self.x_offset + self.width, self.y_offset + self.height

    def clipped(self, height: int, width: int) -> RoiMask:
        """Return the part of the mask inside an image of that size."""
        return RoiMask.from_array(self.to_array(height, width))

    def __and__(self, other: RoiMask) -> RoiMask:
        frame = self._common_frame(other)
        return RoiMask.from_array(self.window(*frame) & other.window(*frame), frame[0], frame[1])

    def __or__(self, other: RoiMask) -> RoiMask:
        frame = self._joint_frame(other)
        return RoiMask.from_array(self.window(*frame) | other.window(*frame), frame[0], frame[1])

    def __sub__(self, other: RoiMask) -> RoiMask:
        frame = (self.x_offset, self.y_offset, self.width, self.height)
        return RoiMask.from_array(self.roi() & ~other.window(*frame), frame[0], frame[1])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RoiMask):
            return NotImplemented
        return self.area == other.area == self.intersection_area(other)

    def intersection_area(self, other: RoiMask) -> int:
        """Number of pixels in both masks."""
        if other is self:
            return self.area
        frame = self._common_frame(other)
        return int(np.count_nonzero(self.window(*frame) & other.window(*frame))) if frame[2] and frame[3] else 0

    def iou(self, other: RoiMask) -> float:
        """Intersection over union; 1.0 when both masks are empty."""
        intersection = self.intersection_area(other)
        union = self.area + other.area - intersection
        return 1.0 if union == 0 else intersection / union

    def is_subset_of(self, other: RoiMask) -> bool:
        """Whether every pixel of this mask is a pixel of the other."""
        return self.intersection_area(other) == self.area

    def _common_frame(self, other: RoiMask) -> tuple[int, int, int, int]:
        left, top = max(self.box[0], other.box[0]), max(self.box[1], other.box[1])
        right, bottom = min(self.box[2], other.box[2]), min(self.box[3], other.box[3])
        return left, top, max(0, right - left), max(0, bottom - top)

    def _joint_frame(self, other: RoiMask) -> tuple[int, int, int, int]:
        masks = [mask for mask in (self, other) if mask.width and mask.height]
        if not masks:
            return 0, 0, 0, 0
        left, top = min(m.box[0] for m in masks), min(m.box[1] for m in masks)
        right, bottom = max(m.box[2] for m in masks), max(m.box[3] for m in masks)
        return left, top, right - left, bottom - top


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """Return the (n,) int64 COCO run lengths of a non-empty (H, W) boolean array (see `RoiMask.counts`)."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    starts_set = int(flat[0])
    ends = np.zeros(changes.size + 2 + starts_set, np.int64)
    np.add(changes, 1, out=ends[1 + starts_set : -1])
    ends[-1] = flat.size
    return ends[1:] - ends[:-1]
