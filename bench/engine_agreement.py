"""Do the engines give the same scenes? `python bench/engine_agreement.py --data data/val --calibration data/train`.

PyTorch in float32 is the reference. For ONNX Runtime, for bfloat16 where the CPU has matrix units for it, and for an
INT8 form of the network calibrated on training images, over frames of a data set: the differences of every output,
the share of scenes that are equal in every pixel, mask and edge, the accuracy, and the time of the network. Exits
with 1 where ONNX Runtime leaves its tolerances.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from inference.quantization import quantize
from torch import Tensor

from amodal_perception_ros.evaluation import Evaluator
from amodal_perception_ros.evaluation.sources import DataSet
from amodal_perception_ros.network import NetworkOutput
from amodal_perception_ros.network.instance_heads import InstanceMaps
from amodal_perception_ros.perception import Perception, default_weights
from amodal_perception_ros.perception.engine import Engine, create_engine
from amodal_perception_ros.perception.export import export_onnx
from amodal_perception_ros.perception.painting import paint_all
from amodal_perception_ros.perception.preprocess import NetworkInput, prepare
from amodal_perception_ros.scene import CameraScene, Sample

DENSE = ("stuff_logits", "log_depth", "heat_logits")
TOKENS = ("seed_score", "class_logits", "boxes", "occluded_logits", "quality_logits")
MAPS = tuple(f"map_{name}" for name in InstanceMaps._fields)
"""What is drawn of the outputs' descriptions."""

MAX_DIFFERENCE = 1e-3
"""Tolerances of ONNX Runtime: mean difference of any output,"""

MIN_EQUAL_PIXELS = 0.999
"""share of pixels with the same label,"""

MAX_APQ_DIFFERENCE = 0.1
"""and difference of the accuracies [percentage points]."""

FIGURES = ("APQ", "APQ_T", "APQ_T_O")


class Tap:
    """An engine that remembers its last output and how long each run took [ms]."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.metadata, self.painter, self._engine = engine.name, engine.metadata, engine.painter, engine
        self.times: list[float] = []
        self.values: dict[str, Tensor] = {}

    def run(self, batch: NetworkInput) -> NetworkOutput:
        """Run the engine."""
        start = time.perf_counter()
        output = self._engine.run(batch)
        self.times.append(1e3 * (time.perf_counter() - start))
        self.values = {name: value.float() for name, value in output.named().items()} | self._maps(output)
        return output

    def _maps(self, output: NetworkOutput) -> dict[str, Tensor]:
        """Return the (B, K, h, w) maps of all tokens."""
        images, tokens = output.seed_index.shape
        everywhere = [[(slice(None), slice(None))] * tokens] * images
        paintings = paint_all(self.painter, output, [np.arange(tokens)] * images, everywhere)
        maps = np.stack([np.stack(painting.objects, 1) for painting in paintings], 1)
        return dict(zip(MAPS, torch.from_numpy(maps)))


@dataclass
class Agreement:
    """How far one engine is from the reference, summed over frames; `scores` holds its accuracy."""

    largest: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    sums: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))
    scores: dict[str, float] = field(default_factory=dict)
    milliseconds: float = 0.0

    def add(self, name: str, part: float, whole: float) -> None:
        """Add to a mean."""
        self.sums[name][0] += part
        self.sums[name][1] += whole

    def mean(self, name: str) -> float:
        """Return a mean; NaN of nothing."""
        part, whole = self.sums[name]
        return part / whole if whole else float("nan")

    def add_outputs(self, own: dict[str, Tensor], reference: dict[str, Tensor]) -> None:
        """Add the differences of a batch's outputs (`Tap.values`); tokens are those of the seeds that both have."""
        for name in DENSE:
            self._add_difference(name, own[name], reference[name])
        for image in range(len(own["seed_index"])):
            same = own["seed_index"][image][:, None] == reference["seed_index"][image][None]
            mine, others = torch.nonzero(same, as_tuple=True)
            self.add("seeds", len(mine), len(same))
            for name in (*TOKENS, *MAPS):
                self._add_difference(name, own[name][image][mine], reference[name][image][others])
            orders = own["order_logits"][image][mine][:, mine], reference["order_logits"][image][others][:, others]
            self._add_difference("order_logits", *orders)

    def _add_difference(self, name: str, own: Tensor, reference: Tensor) -> None:
        difference = (own - reference).abs()
        if difference.numel():
            self.largest[name] = max(self.largest[name], float(difference.max()))
            self.add(name, float(difference.sum(dtype=torch.float64)), difference.numel())

    def add_scene(self, own: CameraScene, reference: CameraScene) -> None:
        """Add the comparison of two scenes of an image."""
        self.add("scenes", equal_scenes(own, reference), 1)
        self.add("pixels", int(np.count_nonzero(own.labels == reference.labels)), own.labels.size)

    def problems(self, reference: Agreement) -> list[str]:
        """Return what is outside the tolerances."""
        found = [
            f"{name} differs by {self.mean(name):.2g} on average, more than {MAX_DIFFERENCE}"
            for name in (*DENSE, *TOKENS, *MAPS, "order_logits")
            if self.mean(name) > MAX_DIFFERENCE
        ]
        if self.mean("pixels") < MIN_EQUAL_PIXELS:
            found.append(f"{self.mean('pixels'):.3%} of the labels are equal, less than {MIN_EQUAL_PIXELS:.1%}")
        for name in FIGURES:
            if abs(self.scores.get(name, 0.0) - reference.scores.get(name, 0.0)) > MAX_APQ_DIFFERENCE:
                found.append(f"{name} differs by more than {MAX_APQ_DIFFERENCE} points")
        return found


def equal_scenes(own: CameraScene, reference: CameraScene) -> bool:
    """Return whether labels, instances with their masks, and occlusion order are the same."""
    if not (own.labels == reference.labels).all() or len(own.instances) != len(reference.instances):
        return False
    for mine, other in zip(own.instances, reference.instances):
        if mine.instance_id != other.instance_id or mine.occlusion_level != other.occlusion_level:
            return False
        if mine.visible_mask != other.visible_mask or mine.amodal_mask != other.amodal_mask:
            return False
    edges = [set(zip(s.order.occluder_ids.tolist(), s.order.occludee_ids.tolist())) for s in (own, reference)]
    return edges[0] == edges[1]


def compare(samples: Iterable[Sample], engines: dict[str, Perception]) -> dict[str, Agreement]:
    """Perceive every frame with every engine in turn; the first engine is the reference of the others."""
    reference, *_ = engines
    taps = {name: Tap(perception.engine) for name, perception in engines.items()}
    runs = {name: Perception(taps[name], each.input_size, each.config) for name, each in engines.items()}
    found, evaluators = {name: Agreement() for name in engines}, {name: Evaluator() for name in engines}
    for number, sample in enumerate(samples):
        scenes = {name: run.perceive(sample.frame).cameras for name, run in runs.items()}
        for name in engines:
            for camera, truth in sample.truth.cameras.items():
                evaluators[name].add(truth, scenes[name][camera], f"frame {number}")
                found[name].add_scene(scenes[name][camera], scenes[reference][camera])
            found[name].add_outputs(taps[name].values, taps[reference].values)
    for name in engines:
        found[name].scores = evaluators[name].results()["panoptic"]["strict"]
        found[name].milliseconds = float(np.median(taps[name].times[1:] or taps[name].times))
    return found


def spread_samples(data: Path, count: int) -> Iterator[Sample]:
    """Yield samples spread evenly over a data set."""
    sequences = DataSet((data,)).open(with_images=True)
    places = [(sequence, index) for sequence in sequences for index in range(len(sequence))]
    for sequence, index in places[:: max(1, len(places) // count)][:count]:
        yield sequence[index]


def open_engines(weights: Path, args: argparse.Namespace, scratch: Path) -> dict[str, Perception]:
    """Return the reference, ONNX Runtime and the variants that can run here."""

    def perception(engine: str, precision: str = "float32", file: Path = weights) -> Perception:
        return Perception.from_weights(file, engine, "cpu", precision, args.size, args.cameras, threads=args.threads)

    engines = {"torch float32": perception("torch"), "onnxruntime float32": perception("onnxruntime")}
    if torch.cpu._is_amx_tile_supported():
        engines["torch bfloat16"] = perception("torch", "bfloat16")
    if args.calibration:
        exported = export_onnx(weights, scratch / "float.onnx", args.size, args.cameras)
        training = spread_samples(args.calibration, args.calibration_frames)
        quantize(exported, scratch / "int8.onnx", (prepare(sample.frame, args.size) for sample in training))
        engine = create_engine(
            scratch / "int8.onnx", "onnxruntime", "cpu", "float32", args.size, args.cameras, args.threads
        )
        engines["onnxruntime int8"] = Perception(engine, args.size, engines["torch float32"].config)
    return engines


def print_agreement(found: dict[str, Agreement]) -> None:
    """Print the table, one column an engine."""
    others = list(found)[1:]
    rows: dict[str, list[str]] = {"network [ms]": [f"{each.milliseconds:.1f}" for each in found.values()]}
    baseline = found["onnxruntime float32"].milliseconds
    rows["  times onnxruntime float32"] = [f"{each.milliseconds / baseline:.2f}" for each in found.values()]
    for name in FIGURES:
        rows[f"{name} strict [%]"] = [f"{each.scores.get(name, float('nan')):.2f}" for each in found.values()]
    for name, title in (("scenes", "equal scenes"), ("pixels", "equal labels"), ("seeds", "equal seeds")):
        rows[title] = ["", *(f"{found[other].mean(name):.2%}" for other in others)]
    for name in (*DENSE, *TOKENS, *MAPS, "order_logits"):
        rows[f"{name}: mean, largest"] = [
            "",
            *(f"{found[other].mean(name):.1e}, {found[other].largest[name]:.1e}" for other in others),
        ]
    print(f"{'':34s}" + "".join(f"{name:>22s}" for name in found))
    for title, cells in rows.items():
        print(f"{title:34s}" + "".join(f"{cell:>22s}" for cell in cells))


def main() -> int:
    """Compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data set with truth")
    parser.add_argument("--weights", type=Path, help="safetensors file (default: the package's)")
    parser.add_argument("--frames", type=int, default=100, help="frames, spread over the data set (default 100)")
    parser.add_argument("--calibration", type=Path, help="training data; without them INT8 is left out")
    parser.add_argument("--calibration-frames", type=int, default=32, help="training frames (default 32)")
    parser.add_argument("--cameras", type=int, default=4, help="of the data set (default 4)")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(512, 288))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every engine (default: all cores)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        engines = open_engines(args.weights or default_weights(), args, Path(scratch))
        found = compare(spread_samples(args.data, args.frames), engines)
    print_agreement(found)
    problems = found["onnxruntime float32"].problems(found["torch float32"])
    print("\n".join(["onnxruntime is outside its tolerances:", *problems] if problems else ["within the tolerances"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
