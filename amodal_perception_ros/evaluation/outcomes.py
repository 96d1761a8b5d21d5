"""What a network says of annotated frames, beside what turned out: the observations that a calibration is fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch

from amodal_perception_ros.datasets.annotated import AnnotatedSequence
from amodal_perception_ros.evaluation.decoding import AMODAL_BIT, HIDDEN_BIT, VISIBLE_BIT, DecodedScene, decode
from amodal_perception_ros.evaluation.pairs import Rules, ScenePair, pair_scenes
from amodal_perception_ros.labels import ClassList
from amodal_perception_ros.network import NetworkOutput
from amodal_perception_ros.network.config import OUTPUT_STRIDE
from amodal_perception_ros.perception.calibration import logit_of
from amodal_perception_ros.perception.engine import Engine
from amodal_perception_ros.perception.painting import paint_all
from amodal_perception_ros.perception.postprocess import PostprocessConfig, build_scenes_and_tokens
from amodal_perception_ros.perception.preprocess import View, prepare
from amodal_perception_ros.scene import Sample

LEAST_SCORE = 0.1
"""Objects that the network holds for less likely than this are not observed: no threshold is sought below."""

PIXEL_STEP = 2
"""Every second pixel of every second row is observed: neighbours say nearly the same."""

OBJECT = np.dtype(
    [
        ("sequence", np.int32),
        ("class_index", np.int32),
        ("thing_logit", np.float64),
        ("quality_logit", np.float64),
        ("occluded_logit", np.float64),
        ("right", bool),
        ("occluded", bool),
        ("visible_iou", np.float64),
        ("hidden_iou", np.float64),
        ("hidden_px", np.float64),
    ]
)
"""A predicted object that is a true or a false positive: the logits of its token, whether it is `right`, and if so
whether the true object is `occluded` and the IoU with it; its hidden part in pixels of the network's input."""

PIXEL = np.dtype(
    [
        ("sequence", np.int32),
        ("object", np.int32),
        ("logit", np.float32),
        ("inside", bool),
        ("hidden", bool),
        ("seen", bool),
    ]
)
"""A pixel near an object that is right, which has a number of its own in the sequence: the amodal logit there, whether
it is inside the true amodal mask, whether the object is truly hidden there, and whether the object is predicted as seen
there."""


@dataclass(eq=False)
class Outcomes:
    """Observations of several sequences.

    Attributes:
        objects: (n,) `OBJECT`.
        pixels: (p,) `PIXEL`.
        true_objects: (sequences, classes, 2) int64 scored true objects: all, and those with a hidden part.
    """

    objects: np.ndarray
    pixels: np.ndarray
    true_objects: np.ndarray

    def of(self, sequences: np.ndarray) -> Outcomes:
        """Return those of some sequences, by their numbers."""
        objects, pixels = (part[np.isin(part["sequence"], sequences)] for part in (self.objects, self.pixels))
        return Outcomes(objects, pixels, self.true_objects[sequences])


def observe(engine: Engine, sequences: Sequence[AnnotatedSequence], input_size: tuple[int, int]) -> Iterator[Outcomes]:
    """Run a network on annotated sequences; yields each one's outcomes, which `joined` puts together.

    Objects are those of the post-processing without a calibration, down to `LEAST_SCORE`, matched as the evaluation
    matches them.

    Raises:
        EvaluationError, DatasetError: a frame cannot be scored or read.
    """
    config, rules = PostprocessConfig(score_threshold=LEAST_SCORE), Rules()
    for number, sequence in enumerate(sequences):
        objects, pixels, found = [np.zeros(0, OBJECT)], [np.zeros(0, PIXEL)], 0
        true_objects = np.zeros((1, len(sequence.classes), 2), np.int64)
        for index in range(len(sequence)):
            sample = sequence[index]
            for view, pair, tokens, logits in _perceived(engine, sample, input_size, config, rules):
                objects.append(_objects(number, pair, view, tokens))
                for near in _pixels(number, pair, view, logits):
                    near["object"], found = found, found + 1
                    pixels.append(near)
                true_objects[0] += _count(pair, sequence.classes)
        yield Outcomes(np.concatenate(objects), np.concatenate(pixels), true_objects)


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Put the outcomes of sequences together, in their order."""
    return Outcomes(*(np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Outcomes)))


def _perceived(
    engine: Engine, sample: Sample, input_size: tuple[int, int], config: PostprocessConfig, rules: Rules
) -> Iterator[tuple[View, ScenePair, np.ndarray, list[np.ndarray]]]:
    """Yield of each camera the view, the matched scenes, and of the m predicted objects the (m, 3) logits of `OBJECT`
    and their (h, w) amodal logits.
    """
    batch = prepare(sample.frame, input_size)
    output = engine.run(batch)
    where = f"sequence {sample.sequence} frame {sample.index}"
    stamps = [sample.frame.stamp_ns] * len(batch.views)
    scenes = build_scenes_and_tokens(output, engine.painter, batch.views, stamps, config)
    chosen = [tokens for _, tokens in scenes]
    whole = [[(slice(None), slice(None))] * len(tokens) for tokens in chosen]
    paintings = paint_all(engine.painter, output, chosen, whole)
    for k, (view, (scene, tokens), painting) in enumerate(zip(batch.views, scenes, paintings)):
        pair = pair_scenes(decode(sample.truth.cameras[view.camera.name], where), decode(scene, where), rules)
        yield view, pair, _token_logits(output, k, tokens), [maps.amodal for maps in painting.objects]


def _token_logits(output: NetworkOutput, camera: int, tokens: np.ndarray) -> np.ndarray:
    nothing = _numpy(output.class_logits[camera][tokens].float().softmax(-1)[:, -1])
    quality, occluded = (_numpy(part[camera][tokens]) for part in (output.quality_logits, output.occluded_logits))
    return np.column_stack([logit_of(1.0 - nothing), quality, occluded])


def _objects(number: int, pair: ScenePair, view: View, logits: np.ndarray) -> np.ndarray:
    true, right = pair.matches
    judged = np.concatenate([right, pair.false_positives])
    found = np.zeros(judged.size, OBJECT)
    found["sequence"], found["class_index"] = number, pair.predicted.class_index[judged]
    for column, name in enumerate(("thing_logit", "quality_logit", "occluded_logit")):
        found[name] = logits[judged, column]
    found["hidden_px"] = pair.predicted.hidden_px[judged] * view.scale**2
    matched = found[: right.size]
    matched["right"], matched["occluded"] = True, pair.occluded[true]
    matched["visible_iou"], matched["hidden_iou"] = pair.visible_iou[true, right], pair.hidden_iou[true, right]
    return found


def _count(pair: ScenePair, classes: ClassList) -> np.ndarray:
    indices = pair.truth.class_index
    chosen = (pair.counted, pair.counted & pair.occluded)
    return np.column_stack([np.bincount(indices[which], minlength=len(classes)) for which in chosen])


def _pixels(number: int, pair: ScenePair, view: View, logits: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the pixels of each matched object in the smallest box around its true and its predicted amodal mask.

    Those that post-processing has cut off the amodal mask, because what is seen there is no occluder, are left out.
    """
    for i, j in zip(*pair.matches):
        box = np.concatenate([pair.truth.boxes[[i]], pair.predicted.boxes[[j]]])
        (left, top), (right, bottom) = box[:, :2].min(0), box[:, 2:].max(0)
        rows, columns = np.arange(top, bottom, PIXEL_STEP), np.arange(left, right, PIXEL_STEP)
        camera = view.camera
        row, column = _input_pixel(rows, view.height, camera.height), _input_pixel(columns, view.width, camera.width)
        at_input = cv2.resize(logits[j], None, fx=OUTPUT_STRIDE, fy=OUTPUT_STRIDE, interpolation=cv2.INTER_LINEAR)
        logit = at_input[np.ix_(row, column)]
        true, predicted = (_bits_at(pair.truth, i, rows, columns), _bits_at(pair.predicted, j, rows, columns))
        kept = (logit <= 0) | (predicted & AMODAL_BIT > 0)
        found = np.zeros(np.count_nonzero(kept), PIXEL)
        found["sequence"], found["logit"] = number, logit[kept]
        found["inside"], found["hidden"] = true[kept] & AMODAL_BIT > 0, true[kept] & HIDDEN_BIT > 0
        found["seen"] = predicted[kept] & VISIBLE_BIT > 0
        yield found


def _bits_at(scene: DecodedScene, index: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the bits of an object (`DecodedScene.parts`) at rows and columns of the image, 0 outside of its box."""
    left, top, right, bottom = scene.box(index)
    row, column = np.flatnonzero((rows >= top) & (rows < bottom)), np.flatnonzero((columns >= left) & (columns < right))
    bits = np.zeros((rows.size, columns.size), np.uint8)
    bits[np.ix_(row, column)] = scene.parts[index][np.ix_(rows[row] - top, columns[column] - left)]
    return bits


def _input_pixel(pixels: np.ndarray, size: int, camera_size: int) -> np.ndarray:
    """Return the pixels of the network's input that are nearest to the centres of pixels of the camera."""
    return np.floor((pixels + 0.5) * size / camera_size).astype(np.int64)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()
