"""Example pictures of a run: truth beside prediction, as the losses see them (stride 2, no post-processing)."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from amodal_perception_ros.network import AmodalNetwork
from amodal_perception_ros.training.dataset import Batch, BatchSource

EXAMPLES = 4
"""Rows of a picture: validation images spread over the set."""


@torch.no_grad()
def example_pictures(network: AmodalNetwork, source: BatchSource, device: torch.device) -> np.ndarray:
    """Return an (R * H, 2 * W, 3) uint8 BGR picture of at most `EXAMPLES` images: truth left, prediction right.

    The visible part of an object is filled with its colour, the whole object is outlined with it.
    """
    was_training = network.training
    network.eval()
    numbers = np.unique(np.linspace(0, len(source.files) - 1, EXAMPLES).astype(int)).tolist()
    rows = [_row(network, source[n // source.batch_size], n % source.batch_size, device) for n in numbers]
    network.train(was_training)
    return np.vstack(rows)


def _row(network: AmodalNetwork, batch: Batch, place: int, device: torch.device) -> np.ndarray:
    one = slice(place, place + 1)
    output = network(batch.image[one].to(device), batch.guidance[one].to(device))
    shape, count = output.log_depth.shape[1:], int(batch.targets.valid[place].sum())
    true = [
        (maps[place, :count] > 0.5).reshape(count, *shape) for maps in (batch.targets.visible, batch.targets.amodal)
    ]
    found = output.class_logits[0].argmax(-1) < output.class_logits.shape[-1] - 1
    drawn = network.everything(output)
    predicted = [maps[0][found].cpu() > 0 for maps in (drawn.visible, drawn.amodal)]
    image = np.rint(batch.image[place].permute(1, 2, 0).numpy()[..., ::-1] * 255).astype(np.uint8)
    return np.hstack([_draw(image, *(maps.numpy() for maps in pair)) for pair in (true, predicted)])


def _draw(image: np.ndarray, visible: np.ndarray, amodal: np.ndarray) -> np.ndarray:
    """Return a copy of an (H, W, 3) image with (n, h, w) bool masks drawn over it."""
    out = image.copy()
    height, width = image.shape[:2]
    for number, (seen, whole) in enumerate(zip(visible, amodal)):
        colour = _colour(number)
        seen, whole = (
            cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
            for mask in (seen, whole)
        )
        out[seen > 0] = (0.5 * out[seen > 0] + 0.5 * np.array(colour)).astype(np.uint8)
        contours = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(out, contours, -1, colour, 1)
    return out


def _colour(number: int) -> tuple[int, int, int]:
    hue = np.array([[[number * 67 % 180, 220, 255]]], np.uint8)
    blue, green, red = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red
