"""Example pictures of a run: truth beside prediction, as the losses see them (stride 2, no post-processing)."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from amodal_perception_ros.network import AmodalNetwork
from amodal_perception_ros.training.dataset import BatchSource

EXAMPLES = 4
"""Rows of a picture: validation images spread over the set."""


@torch.no_grad()
def example_pictures(network: AmodalNetwork, source: BatchSource, device: torch.device) -> np.ndarray:
    """Return an (EXAMPLES * H, 2 * W, 3) uint8 BGR picture: truth on the left, prediction on the right.

    The visible part of an object is filled with its colour, the whole object is outlined with it.
    """
    was_training = network.training
    network.eval()
    rows = []
    for number in np.linspace(0, len(source) - 1, EXAMPLES).astype(int):
        image, guidance, targets = source[int(number)]
        output = network(image[:1].to(device), guidance[:1].to(device))
        shape = tuple(output.log_depth.shape[1:])
        count = int(targets.valid[0].sum())
        true = [
            (values[0, :count] > 0.5).reshape(count, *shape).numpy() for values in (targets.visible, targets.amodal)
        ]
        found = output.class_logits[0].argmax(-1) < output.class_logits.shape[-1] - 1
        maps = (output.visible_logits, output.amodal_logits)
        predicted = [(values[0][found] > 0).cpu().numpy() for values in maps]
        picture = np.rint(image[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).astype(np.uint8)
        rows.append(np.hstack([_draw(picture, *true), _draw(picture, *predicted)]))
    network.train(was_training)
    return np.vstack(rows)


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
    hue = np.uint8([[[number * 67 % 180, 220, 255]]])
    return tuple(int(c) for c in cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0])
