"""Quick validation during training, at stride 2. The published figures come from the evaluation room instead."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from amodal_perception_ros.network import AmodalNetwork, NetworkOutput
from amodal_perception_ros.network.heads import Seeds
from amodal_perception_ros.network.instance_heads import InstanceMaps
from amodal_perception_ros.network.losses import assign
from amodal_perception_ros.network.targets import Targets
from amodal_perception_ros.training.dataset import BatchSource

HIDDEN_SHARE = 0.1
"""Objects with a larger hidden share of their amodal mask count in the hidden-part figures."""

MATCH_IOU = 0.5


@torch.no_grad()
def validate(network: AmodalNetwork, source: BatchSource, device: torch.device) -> dict[str, float]:
    """Score the images of a validation source, whose targets are given at all cells.

    Returns:
        recall, precision: objects found (amodal IoU above 0.5) of all objects and of all detections.
        amodal_iou, hidden_iou: means over found objects; hidden_iou over those with a hidden part.
        hidden_recall: share of objects with a hidden part that are found.
        quality: recall-precision F1 times amodal IoU, a class-agnostic panoptic quality of the amodal masks.
        order: share of occluding pairs of found objects whose direction is right.
        stuff: share of labelled stuff area whose class is right.
        depth: mean relative error of the visible depth.
        object_depth: the same for the whole object's depth of found objects.
        object_depth_stddev: root mean square relative error of the median depth of found objects.
        objects: number of ground truth objects.
    """
    was_training = network.training
    network.eval()
    sums: dict[str, float] = defaultdict(float)
    for number in range(len(source)):
        image, guidance, targets = source[number]
        targets = targets.to(device)
        output = network(image.to(device), guidance.to(device))
        _add_dense(sums, output, targets)
        _add_objects(sums, output, network.everything(output), targets)
    network.train(was_training)
    return _summary(sums)


def _add_dense(sums: dict[str, float], output: NetworkOutput, targets: Targets) -> None:
    stuff, truth = output.stuff_logits.argmax(1), targets.stuff.argmax(1)
    labelled = targets.stuff.amax(1) > 0.5
    sums["stuff_right"] += int(((stuff == truth) & labelled).sum())
    sums["stuff_cells"] += int(labelled.sum())
    known = torch.isfinite(targets.log_depth)
    error = ((output.log_depth - targets.log_depth)[known].exp() - 1).abs()
    sums["depth_error"] += float(error.sum())
    sums["depth_cells"] += int(known.sum())


def _add_objects(sums: dict[str, float], output: NetworkOutput, maps: InstanceMaps, targets: Targets) -> None:
    assignment = assign(Seeds(output.seed_score, output.seed_index), output.heat_logits, targets)
    detected = output.class_logits.argmax(-1) < output.class_logits.shape[-1] - 1
    sums["detections"] += int((detected & ~assignment.ignored).sum())
    sums["objects"] += int(targets.valid.sum())
    has_hidden = targets.valid & (targets.hidden_share > HIDDEN_SHARE)
    sums["hidden_objects"] += int(has_hidden.sum())
    for image in range(len(targets.valid)):
        found: dict[int, int] = {}
        for token in torch.nonzero(assignment.owner[image] & detected[image]).flatten().tolist():
            instance = int(assignment.instance[image, token])
            drawn = InstanceMaps(*(part[image, token].flatten() for part in maps))
            if _score_pair(sums, drawn, targets, (image, instance), bool(has_hidden[image, instance])):
                found[instance] = token
        _add_order(sums, output.order_logits[image], targets.occludes[image], found)


def _score_pair(
    sums: dict[str, float], drawn: InstanceMaps, targets: Targets, where: tuple[int, int], has_hidden: bool
) -> bool:
    image, instance = where
    amodal, truth = drawn.amodal > 0, targets.amodal[image, instance] > 0.5
    iou = _iou(amodal, truth)
    if iou <= MATCH_IOU:
        return False
    sums["found"] += 1
    sums["amodal_iou"] += iou
    if has_hidden:
        hidden = amodal & (drawn.visible <= 0)
        sums["hidden_found"] += 1
        sums["hidden_iou"] += _iou(hidden, truth & (targets.visible[image, instance] <= 0.5))
    target_depth = targets.object_log_depth[image, instance]
    known = truth & torch.isfinite(target_depth)
    error = ((drawn.log_depth - target_depth)[known].exp() - 1).abs()
    sums["object_depth_error"] += float(error.sum())
    sums["object_depth_cells"] += int(known.sum())
    if known.any():
        median = (drawn.log_depth[known].median() - target_depth[known].median()).exp() - 1
        sums["median_square"] += float(median) ** 2
        sums["medians"] += 1
    return True


def _add_order(sums: dict[str, float], logits: Tensor, occludes: Tensor, found: dict[int, int]) -> None:
    for first, second in torch.nonzero(occludes).tolist():
        if first in found and second in found:
            sums["pairs"] += 1
            sums["pairs_right"] += int(logits[found[first], found[second]] > logits[found[second], found[first]])


def _iou(a: Tensor, b: Tensor) -> float:
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def _summary(sums: dict[str, float]) -> dict[str, float]:
    def share(part: str, whole: str) -> float:
        return float(sums[part]) / max(1, sums[whole])

    recall, precision, iou = share("found", "objects"), share("found", "detections"), share("amodal_iou", "found")
    f1 = 2 * recall * precision / max(1e-9, recall + precision)
    return {
        "quality": f1 * iou,
        "recall": recall,
        "precision": precision,
        "amodal_iou": iou,
        "hidden_recall": share("hidden_found", "hidden_objects"),
        "hidden_iou": share("hidden_iou", "hidden_found"),
        "order": share("pairs_right", "pairs"),
        "stuff": share("stuff_right", "stuff_cells"),
        "depth": share("depth_error", "depth_cells"),
        "object_depth": share("object_depth_error", "object_depth_cells"),
        "object_depth_stddev": share("median_square", "medians") ** 0.5,
        "objects": float(sums["objects"]),
    }
