"""Fusion of the simulator's true scenes against the simulator's true grid and boxes.

With perfect masks and depth, what is missing is fusion's own fault: sizes assumed, headings, LiDAR gaps.
"""

import numpy as np
import pytest

from amodal_perception_ros.fusion import BevMapper, lift_objects
from amodal_perception_ros.labels import THINGS
from amodal_perception_ros.scene import Evidence
from amodal_perception_ros.simulation import SequenceConfig, simulate

THING_IDS = [label.id for label in THINGS]


@pytest.fixture(scope="module")
def samples():
    return list(simulate(SequenceConfig(seed=90_011, frames=2, width=256, height=144, supersample=1)))


@pytest.fixture(scope="module")
def grids(samples):
    mapper = BevMapper()
    return [mapper.update(sample.frame, sample.truth) for sample in samples]


def test_grids_lie_on_the_same_cells(samples, grids):
    for sample, grid in zip(samples, grids):
        assert np.allclose(grid.origin, sample.bev.origin)
        assert grid.amodal.shape == sample.bev.amodal.shape


def test_hidden_cells_of_things_are_found_and_inferred_ones_are_right(samples, grids):
    hits = hidden = right = inferred = 0
    for sample, grid in zip(samples, grids):
        truth = sample.bev
        wanted = (truth.amodal >= 50) & (truth.visible < 50) & np.isin(truth.semantic, THING_IDS)
        guessed = grid.evidence == Evidence.AMODAL_INFERRED
        hits, hidden = hits + int((grid.amodal[wanted] >= 50).sum()), hidden + int(wanted.sum())
        right, inferred = right + int((truth.amodal[guessed] >= 50).sum()), inferred + int(guessed.sum())
    assert hidden > 300
    print(f"hidden recall {hits / hidden:.3f} of {hidden}, inferred precision {right / inferred:.3f} of {inferred}")
    assert hits / hidden > 0.7
    assert right / inferred > 0.7


def test_free_cells_are_free(samples, grids):
    free = sum(int(((g.visible >= 0) & (g.visible < 50)).sum()) for g in grids)
    wrong = sum(int(((g.visible >= 0) & (g.visible < 50) & (s.bev.amodal >= 50)).sum()) for s, g in zip(samples, grids))
    print(f"free {free}, wrong {wrong / free:.4f}")
    assert free > 5000
    assert wrong / free < 0.03


def test_boxes_are_where_the_true_ones_are(samples):
    error, turn = [], []
    for sample in samples:
        truth = {one.track_id: one for one in sample.objects}
        for found in lift_objects(sample.frame, sample.truth):
            true = truth[found.track_id]
            error.append(np.linalg.norm(found.center[:2] - true.center[:2]))
            if found.class_id == 26:
                turn.append(abs((found.yaw - true.yaw + np.pi / 2) % np.pi - np.pi / 2))
    print(f"{len(error)} boxes, median error {np.median(error):.2f} m, heading {np.rad2deg(np.median(turn)):.1f} deg")
    assert len(error) > 20
    assert np.median(error) < 0.5
    assert np.quantile(error, 0.9) < 1.2
    assert np.median(turn) < np.deg2rad(5)
