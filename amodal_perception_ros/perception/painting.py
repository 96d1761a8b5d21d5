"""Maps of the chosen tokens, each on its window: drawn here, or copied from a GPU that has drawn all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch

from amodal_perception_ros.network import NetworkConfig, NetworkOutput
from amodal_perception_ros.network.instance_heads import InstanceMaps, Window, make_instance_head
from amodal_perception_ros.perception.parallel import for_each_image


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
    ) -> list[Callable[[], Painting]]:
        """Return, for each of B images, what paints it: its dense maps and those of some tokens on windows of the grid.

        They may be called in different threads.

        Args:
            output: of the engine that the painter belongs to.
            chosen: (n,) int64 tokens of each image.
            windows: n windows of each image.
        """
        ...


def paint_all(
    painter: Painter, output: NetworkOutput, chosen: Sequence[np.ndarray], windows: Sequence[Sequence[Window]]
) -> list[Painting]:
    """Paint all images of an output (arguments as `Painter.paint`)."""
    return for_each_image(lambda paint: paint(), painter.paint(output, chosen, windows))


class WindowPainter:
    """Draws the chosen tokens on their windows from the description: few objects fill much of an image.

    The head is only built from the configuration and has no parameters' values: drawing reads none.
    """

    def __init__(self, config: NetworkConfig) -> None:
        with torch.device("meta"):
            self._head = make_instance_head(config)

    def paint(
        self, output: NetworkOutput, chosen: Sequence[np.ndarray], windows: Sequence[Sequence[Window]]
    ) -> list[Callable[[], Painting]]:
        """Paint an output on the CPU (see `Painter`)."""
        stuff, log_depth = output.stuff_logits.float().numpy(), output.log_depth.float().numpy()
        description, boxes = tuple(part.float() for part in output.description), output.boxes.float()

        def paint_image(image: int) -> Painting:
            with torch.inference_mode():
                tokens = torch.from_numpy(chosen[image])
                drawn = self._head.draw(description, boxes, image, tokens, windows[image])
            return Painting(stuff[image], log_depth[image], [_numpy(maps) for maps in drawn])

        return [partial(paint_image, image) for image in range(len(chosen))]


class CopyingPainter:
    """Copies the maps of the chosen tokens in one transfer, from an output whose description is the full maps.

    To draw token by token a GPU would start thousands of kernels; to draw all at once is cheaper.
    """

    def paint(
        self, output: NetworkOutput, chosen: Sequence[np.ndarray], windows: Sequence[Sequence[Window]]
    ) -> list[Callable[[], Painting]]:
        """Paint an output on any device (see `Painter`), in the precision of its masks."""
        masks = output.description[0]
        most = max(map(len, chosen))
        padded = np.stack([np.pad(tokens, (0, most - len(tokens))) for tokens in chosen])
        token, image = torch.from_numpy(padded).to(masks.device), torch.arange(len(chosen), device=masks.device)
        fields = (part[image[:, None], token] for part in output.description)
        parts = [part.to(masks.dtype) for part in (output.stuff_logits, output.log_depth, *fields)]
        flat = torch.cat([part.flatten(1) for part in parts], 1).cpu().float()
        sizes = [part[0].numel() for part in parts]
        found: list[Callable[[], Painting]] = []
        for row, places in zip(flat, windows):
            copied = (values.view(part.shape[1:]) for values, part in zip(row.split(sizes), parts))
            stuff, log_depth, *maps = (part.numpy() for part in copied)
            objects = [ObjectMaps(*(part[number][place] for part in maps)) for number, place in enumerate(places)]
            found.append(partial(Painting, stuff, log_depth, objects))
        return found


def _numpy(maps: InstanceMaps) -> ObjectMaps:
    return ObjectMaps(*(values.numpy() for values in maps))
