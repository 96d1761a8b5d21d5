"""INT8 form of an exported network, by ONNX Runtime's static quantisation; for measurements, not shipped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from amodal_perception_ros.perception.preprocess import NetworkInput

QUANTIZED = ["Conv"]
KEPT_FLOAT = ("/dense/",)
"""Names of nodes begin so: seeds are peaks of the heat map, and steps of 1/256 of its range would tie them; masks,
stuff and depth are read from the same layers."""


class _Batches(CalibrationDataReader):
    def __init__(self, batches: Iterable[NetworkInput]) -> None:
        self._batches: Iterator[NetworkInput] = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch.image, "guidance": batch.guidance}


def quantize(model: Path, out: Path, batches: Iterable[NetworkInput]) -> None:
    """Write an exported network with convolutions in INT8 (QDQ, a scale per output channel).

    Args:
        model: from `export_onnx`.
        out: the ONNX file to write, with the metadata of the model.
        batches: of training images, from which the ranges of the activations are taken (least and largest value).
    """
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        quantize_static(
            prepared,
            out,
            _Batches(batches),
            QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED,
            nodes_to_exclude=[node.name for node in nodes if node.name.startswith(KEPT_FLOAT)],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    quantized = onnx.load(out)
    onnx.helper.set_model_props(quantized, {entry.key: entry.value for entry in onnx.load(model).metadata_props})
    onnx.save(quantized, out)
