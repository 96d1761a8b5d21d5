"""Export of the network to ONNX: opset 18, static shapes, standard operators only."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import onnx
import torch

from amodal_perception_ros.network import NetworkOutput, load_weights

OPSET = 18


def export_onnx(weights: Path, out: Path, input_size: tuple[int, int] = (512, 288), batch: int = 4) -> Path:
    """Write a weights file as ONNX, with its metadata; the file appears only when it is complete.

    Args:
        weights: the .safetensors file.
        out: where the .onnx file goes.
        input_size: (width, height) of the input in pixels.
        batch: number of cameras.

    Raises:
        WeightsError: the weights are missing, truncated or of another architecture.
    """
    network, metadata = load_weights(weights)
    width, height = input_size
    example = (torch.zeros(batch, 3, height, width), torch.zeros(batch, 2, height, width))
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about constants that are constant by design
        draft = Path(scratch) / "model.onnx"
        torch.onnx.export(
            network.eval(),
            example,
            str(draft),
            opset_version=OPSET,
            input_names=["image", "guidance"],
            output_names=list(NetworkOutput._fields),
            dynamo=False,
        )
        model = onnx.load(str(draft))
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, str(draft))
        os.replace(draft, out)
    return out
