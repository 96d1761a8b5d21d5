"""Maps of the chosen tokens, each on its window: drawn here, or copied from a GPU that has drawn all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np
import torch

from amodal_perception_ros.network import NetworkConfig, NetworkOutput
from amodal_perception_ros.network.instance_heads import InstanceMaps, Window, make_instance_head


class ObjectMaps(NamedTuple):
    """(wh, ww) float32 visible logits, amodal logits and log canonical depth of an object on its window."""

    visible: np.ndarray
    amodal: np.ndarray
    log_depth: np.ndarray


class Painting(NamedTuple):
    """(11, h, w) stuff logits and (h, w) log depth of an image, float32, and the maps of its chosen tokens."""

    stuff: np.ndarray
    log_depth: np.ndarray
    objects: list[ObjectMaps]


class Painter(Protocol):
    """Brings the maps of an engine's output to NumPy."""

    def paint(
        self, output: NetworkOutput, chosen: Sequence[np.ndarray], windows: Sequence[Sequence[Window]]
    ) -> list[Painting]:
        """Return the dense maps of B images and those of some tokens of each, on windows of the grid.

        Args:
            output: of the engine that the painter belongs to.
            chosen: (n,) int64 tokens of each image.
            windows: n windows of each image.
        """
        ...


class WindowPainter:
    """Draws the chosen tokens on their windows from the description: few objects fill much of an image.

    The head is only built from the configuration and has no parameters' values: drawing reads none.
    """

    def __init__(self, config: NetworkConfig) -> None:
        with torch.device("meta"):
            self._head = make_instance_head(config)

    @torch.inference_mode()
    def paint(
        self, output: NetworkOutput, chosen: Sequence[np.ndarray], windows: Sequence[Sequence[Window]]
    ) -> list[Painting]:
        """Paint an output on the CPU (see `Painter`)."""
        stuff, log_depth = output.stuff_logits.float().numpy(), output.log_depth.float().numpy()
        description, boxes = tuple(part.float() for part in output.description), output.boxes.float()
        found = []
        with _one_thread():
            for image, (tokens, places) in enumerate(zip(chosen, windows)):
                drawn = self._head.draw(description, boxes, image, torch.from_numpy(tokens), places)
                found.append(Painting(stuff[image], log_depth[image], [_numpy(maps) for maps in drawn]))
        return found


class CopyingPainter:
    """Copies the maps of the chosen tokens in one transfer, from an output whose description is the full maps.

    To draw token by token a GPU would start thousands of kernels; to draw all at once is cheaper.
    """

    def paint(
        self, output: NetworkOutput, chosen: Sequence[np.ndarray], windows: Sequence[Sequence[Window]]
    ) -> list[Painting]:
        """Paint an output on any device (see `Painter`), in the precision of its masks."""
        masks = output.description[0]
        most = max(map(len, chosen))
        padded = np.stack([np.pad(tokens, (0, most - len(tokens))) for tokens in chosen])
        token, image = torch.from_numpy(padded).to(masks.device), torch.arange(len(chosen), device=masks.device)
        fields = (part[image[:, None], token] for part in output.description)
        parts = [part.to(masks.dtype) for part in (output.stuff_logits, output.log_depth, *fields)]
        flat = torch.cat([part.flatten(1) for part in parts], 1).cpu().float()
        sizes = [part[0].numel() for part in parts]
        found = []
        for row, places in zip(flat, windows):
            copied = (values.view(part.shape[1:]) for values, part in zip(row.split(sizes), parts))
            stuff, log_depth, *maps = (part.numpy() for part in copied)
            objects = [ObjectMaps(*(part[number][place] for part in maps)) for number, place in enumerate(places)]
            found.append(Painting(stuff, log_depth, objects))
        return found


def _numpy(maps: InstanceMaps) -> ObjectMaps:
    return ObjectMaps(*(values.numpy() for values in maps))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: steps take microseconds, and on a busy machine a second thread is long in coming."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
