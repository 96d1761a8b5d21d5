"""From an image's detections to consistent masks and depth at the size of the network's input."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from amodal_perception_ros.labels import BY_NAME, STUFF
from amodal_perception_ros.network.config import OUTPUT_STRIDE
from amodal_perception_ros.network.instance_heads import Window
from amodal_perception_ros.perception.preprocess import View
from amodal_perception_ros.perception.selection import Detections

SKY_CHANNEL = STUFF.index(BY_NAME["sky"])


@dataclass(eq=False)
class Patch:
    """One object on its window of the image: masks, and depth in metres."""

    window: Window
    visible: np.ndarray
    amodal: np.ndarray
    depth: np.ndarray


def compose(
    detections: Detections, view: View, may_hide: np.ndarray, amodal_threshold: float
) -> tuple[list[Patch], np.ndarray, np.ndarray]:
    """Bring detections to the size of the network's input and let stuff and objects compete for its pixels.

    Args:
        detections: n objects.
        view: of the image.
        may_hide: (n,) bool; the amodal mask of the others is the visible one.
        amodal_threshold: logit above which a pixel belongs to the amodal mask.

    Returns:
        The objects, visible masks disjoint and inside the amodal ones; the (H, W) int16 winning channel, stuff first;
        and the (H, W) float32 depth of the visible surface [m]: the dense head's for stuff, infinite for the sky.
    """
    windows = [_pixels(window, view) for window in detections.windows]
    winner, best = _stuff(detections.stuff, view)
    for number, (maps, pixels) in enumerate(zip(detections.objects, windows), len(STUFF)):
        logit, region = _upsampled(maps.visible, pixels), best[pixels]
        np.copyto(winner[pixels], number, where=logit > region)
        np.maximum(region, logit, out=region)
    surface = _upsampled(detections.log_depth, (slice(0, view.height), slice(0, view.width)))
    np.exp(surface, out=surface)
    surface *= np.float32(view.depth_scale)
    surface[winner == SKY_CHANNEL] = np.inf
    patches = []
    for number, (maps, pixels, hides) in enumerate(zip(detections.objects, windows, may_hide), len(STUFF)):
        visible = winner[pixels] == number
        depth = _upsampled(np.exp(maps.log_depth) * np.float32(view.depth_scale), pixels)
        amodal = visible
        if hides:
            amodal = visible | (_upsampled(maps.amodal, pixels) > amodal_threshold)
        np.copyto(surface[pixels], depth, where=visible)
        patches.append(Patch(pixels, visible, amodal, depth))
    return patches, winner, surface


def _pixels(cells: Window, view: View) -> Window:
    """Return the pixels of a window of the grid, without the padding of the network's input."""
    rows, columns = (
        slice(min(one.start * OUTPUT_STRIDE, size), min(one.stop * OUTPUT_STRIDE, size))
        for one, size in zip(cells, (view.height, view.width))
    )
    return rows, columns


def _upsampled(image: np.ndarray, pixels: Window) -> np.ndarray:
    """Interpolate the cells of a window to its pixels, bilinearly and with the cells' centres aligned."""
    height, width = (one.stop - one.start for one in pixels)
    full = cv2.resize(image, None, fx=OUTPUT_STRIDE, fy=OUTPUT_STRIDE, interpolation=cv2.INTER_LINEAR)
    return full[:height, :width]


def _stuff(logits: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Return the winning stuff channel and its logit per pixel; each class takes part near the cells that it wins."""
    won = logits == logits.max(0)
    winner = np.zeros((view.height, view.width), np.int16)
    best = np.full((view.height, view.width), -np.inf, np.float32)
    for channel, cells in enumerate(won):
        if cells.any():
            window = bounding_window(cells)
            pixels = _pixels(window, view)
            logit, region = _upsampled(logits[channel][window], pixels), best[pixels]
            np.copyto(winner[pixels], channel, where=logit > region)
            np.maximum(region, logit, out=region)
    return winner, best


def bounding_window(cells: np.ndarray, margin: int = 2) -> Window:
    """Return the window of a (h, w) bool map that holds all its cells and a margin."""
    left, top, width, height = cv2.boundingRect(cells.view(np.uint8))
    rows = slice(max(0, top - margin), min(top + height + margin, cells.shape[0]))
    return rows, slice(max(0, left - margin), min(left + width + margin, cells.shape[1]))


def trim_hidden_parts(
    patches: list[Patch], occludes: np.ndarray, winner: np.ndarray, surface: np.ndarray, tolerance: float, min_px: int
) -> None:
    """Remove hidden pixels that nothing hides (in place): a hidden part needs a visible surface in front of it.

    Where an object is seen that lies behind, or a surface clearly farther away (the sky always is), the hidden part
    would have to be visible; the field has spilled over. A hidden part of fewer than `min_px` pixels goes altogether.

    Args:
        patches: n objects.
        occludes: (n, n) bool, acyclic.
        winner: (H, W) winning channel, stuff first.
        surface: (H, W) depth of what is seen [m].
        tolerance: a hidden part may lie in front of the surface by this share of its depth.
        min_px: least area of a hidden part.
    """
    for patch, behind in zip(patches, occludes):
        if patch.amodal is patch.visible:
            continue
        hidden = patch.amodal & ~patch.visible
        hidden &= surface[patch.window] <= patch.depth * np.float32(1 + tolerance)
        if behind.any():
            hidden &= ~np.concatenate([np.zeros(len(STUFF), bool), behind])[winner[patch.window]]
        patch.amodal = patch.visible | hidden if np.count_nonzero(hidden) >= max(1, min_px) else patch.visible


def push_hidden_depth_back(patches: list[Patch], levels: np.ndarray, surface: np.ndarray) -> None:
    """Make hidden depth at least that of what hides it (in place).

    From the front to the back, `front` holds the depth of the rearmost surface so far: objects that overlap have an
    edge, so whatever of them came before hides this one.

    Args:
        patches: n objects.
        levels: (n,) uncapped occlusion levels.
        surface: (H, W) depth of what is seen [m].
    """
    front = surface.copy()
    for k in np.argsort(levels, kind="stable"):
        patch = patches[k]
        if patch.amodal is not patch.visible:
            hidden, region = patch.amodal & ~patch.visible, front[patch.window]
            np.maximum(patch.depth, region, out=patch.depth, where=hidden)
            np.copyto(region, patch.depth, where=hidden)
