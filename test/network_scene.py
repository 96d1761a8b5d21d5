"""A scene for the tests of losses and instance heads: two objects before a road, on the network's grids."""

import math

import torch

from amodal_perception_ros.network.instance_heads import InstanceMaps, Matched
from amodal_perception_ros.network.targets import Targets

SIDE, HEAT_SIDE = 16, 8
"""Masks are at stride 2 and the heat map at stride 4 of an image of 32 x 32 pixels."""

GRID = torch.Size((SIDE, SIDE))
ALL_CELLS = torch.arange(SIDE * SIDE)[None]
DEPTH = (math.log(15), math.log(30))
HIDDEN, AREA = 24, 64
"""Cells of object 1: those that object 0 hides, and all."""

BOTH = Matched(torch.tensor([[0, 1]]), torch.tensor([[True, True]]))


def make_targets(cells=ALL_CELLS):
    """Object 0 (columns 2..7, rows 4..11) hides a part of object 1 (columns 4..11, rows 2..9); the third is padding."""
    amodal = torch.zeros(1, 3, SIDE, SIDE)
    amodal[0, 0, 4:12, 2:8], amodal[0, 1, 2:10, 4:12] = 1, 1
    visible = amodal.clone()
    visible[0, 1] *= 1 - amodal[0, 0]
    stuff = torch.zeros(1, 11, SIDE, SIDE)
    stuff[0, 0] = 1 - visible[0].sum(0)
    depth = torch.full((1, 3, SIDE, SIDE), math.nan)
    for number, value in enumerate(DEPTH):
        depth[0, number][amodal[0, number] > 0] = value
    pooled = torch.nn.functional.avg_pool2d(visible, 2)
    seed_object = pooled[:, :2].argmax(1).where(pooled[:, :2].amax(1) > 0.25, -1)
    heat = torch.zeros(1, HEAT_SIDE, HEAT_SIDE)
    heat[0, 4, 2] = heat[0, 2, 4] = 1
    occludes = torch.zeros(1, 3, 3, dtype=torch.bool)
    occludes[0, 0, 1] = True
    return Targets(
        stuff=stuff,
        log_depth=torch.full((1, SIDE, SIDE), math.log(50)),
        cells=cells,
        valid=torch.tensor([[True, True, False]]),
        classes=torch.tensor([[2, 5, 0]]),
        levels=torch.tensor([[0, 1, 0]]),
        boxes=torch.tensor([[[5 / 16, 0.5, 6 / 16, 0.5], [0.5, 6 / 16, 0.5, 0.5], [0, 0, 0, 0]]]),
        hidden_share=torch.tensor([[0, HIDDEN / AREA, 0]]),
        visible=visible.flatten(2)[:, :, cells[0]],
        amodal=amodal.flatten(2)[:, :, cells[0]],
        object_log_depth=depth.flatten(2)[:, :, cells[0]],
        occludes=occludes,
        heat=heat,
        heat_weight=torch.ones(1, HEAT_SIDE, HEAT_SIDE),
        seed_object=seed_object,
        forced=heat[:, None],
    )


def perfect_maps(targets):
    """Return the maps of the two objects that every loss wants: the logit of what is hidden is -20 or 20 as well."""
    visible, amodal = targets.visible[:, :2], targets.amodal[:, :2]
    return InstanceMaps(60 * visible - 20, 40 * amodal - 20, targets.object_log_depth[:, :2].nan_to_num(0.0))


def batch_of(targets, count):
    """Return the targets of `count` times the same image."""
    return type(targets)(*(torch.cat([value] * count) for value in targets))
