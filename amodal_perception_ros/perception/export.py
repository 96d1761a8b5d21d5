"""Export of the network to ONNX: opset 18, static shapes, standard operators only.

The graph ends with the description of the objects; their maps are drawn where they are wanted (see `painting`).
"""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import onnx
import torch

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import load_weights
from amodal_perception_ros.network.config import INPUT_MULTIPLE

OPSET = 18

GRAPH = 2
"""Version of the exported graph: which outputs it has. Copies of another one in the cache are not used."""


def export_onnx(weights: Path, out: Path, input_size: tuple[int, int] = (512, 288), batch: int = 4) -> Path:
    """Write a weights file as ONNX, with its metadata; the file appears only when it is complete.

    Args:
        weights: the .safetensors file.
        out: where the .onnx file goes.
        input_size: (width, height) of the input in pixels.
        batch: number of cameras.

    Raises:
        WeightsError: the weights are missing, truncated or of another architecture.
        InputError: the input size is not a multiple of 32, or the folder cannot be written.
    """
    width, height = input_size
    if width % INPUT_MULTIPLE or height % INPUT_MULTIPLE:
        raise InputError(f"input size {width}x{height} must be multiples of {INPUT_MULTIPLE}")
    network, metadata = load_weights(weights)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise InputError(f"{out.parent}: cannot write the exported network there ({error.strerror})") from error
    example = (torch.zeros(batch, 3, height, width), torch.zeros(batch, 2, height, width))
    with torch.inference_mode():
        names = list(network(*(part[:1] for part in example)).named())
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about constants that are constant by design
        draft = Path(scratch) / "model.onnx"
        torch.onnx.export(
            network,
            example,
            str(draft),
            opset_version=OPSET,
            input_names=["image", "guidance"],
            output_names=names,
            dynamo=False,
        )
        model = onnx.load(str(draft))
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, str(draft))
        os.replace(draft, out)
    return out
