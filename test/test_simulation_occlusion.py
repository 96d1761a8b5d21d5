"""Designed occlusion: counting on hand-made rays, and scenes that come nearer to what is wanted."""

from types import SimpleNamespace

import numpy as np
import pytest

from amodal_perception_ros.simulation.config import SequenceConfig
from amodal_perception_ros.simulation.rendering.raycasting import RayCaster
from amodal_perception_ros.simulation.town.town import build_town
from amodal_perception_ros.simulation.traffic.boxes import outline, overlap
from amodal_perception_ros.simulation.traffic.occlusion_design import Target, design_occlusion
from amodal_perception_ros.simulation.traffic.occlusion_survey import (
    MIN_RAYS,
    RATIO_BINS,
    Histograms,
    Instant,
    OcclusionSurvey,
)
from amodal_perception_ros.simulation.traffic.things import BIKE, MOTORCYCLE, RIDER
from amodal_perception_ros.simulation.traffic.traffic import build_traffic


def hits(*pairs):
    """(first ray, last ray, range) spans as the hits of one thing."""
    rays = np.concatenate([np.arange(a, b + 1) for a, b, _ in pairs])
    ranges = np.concatenate([np.full(b - a + 1, float(r)) for a, b, r in pairs])
    return rays, ranges


def survey_of(*things, town=None):
    """A survey of one instant whose things are given by their hits on 100 rays."""
    survey = OcclusionSurvey(RayCaster([]), {})
    ranges = np.full(100, np.inf)
    for a, b, r in town or ():
        ranges[a : b + 1] = r
    instant = Instant(0, np.zeros(3), np.zeros((100, 3)), ranges, dict(enumerate(things)))
    survey.instants.append(instant)
    return survey


def test_ratios_and_levels_of_a_row_of_things_are_counted():
    front, middle, back = hits((0, 9, 5)), hits((5, 14, 8)), hits((10, 19, 12))
    found = survey_of(front, middle, back).histograms({})
    # front: all visible; middle: 5 of 10 behind front; back: 5 of 10 behind middle.
    assert found.ratios.tolist() == [1, 0, 0, 2, 0, 0]
    assert found.levels.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_walls_hide_too_but_are_no_level():
    found = survey_of(hits((0, 9, 5)), hits((20, 29, 7)), town=[(0, 6, 2), (20, 40, 3)]).histograms({})
    # The first has 3 of 10 rays left, the second none.
    assert found.ratios.tolist() == [0, 0, 0, 1, 0, 1]
    assert found.levels.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


def test_chains_through_hidden_things_do_not_count_and_small_things_do_not_either():
    hidden = hits((0, 9, 6))
    found = survey_of(hits((0, 9, 5)), hidden, hits((0, 19, 7))).histograms({})
    assert found.ratios.tolist() == [1, 0, 0, 1, 0, 1]
    assert found.levels.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert survey_of(hits((0, MIN_RAYS - 2, 5))).histograms({}).ratios.sum() == 0


def test_changes_are_tried_without_being_made():
    survey = survey_of(hits((0, 9, 5)), hits((0, 9, 8)))
    assert survey.histograms({}, without=[0]).ratios.tolist() == [1, 0, 0, 0, 0, 0]
    more = survey.histograms({7: [hits((50, 59, 3))]})
    assert more.ratios.tolist() == [2, 0, 0, 0, 0, 1]
    assert survey.histograms({}).ratios.tolist() == [1, 0, 0, 0, 0, 1]


def test_distance_to_the_wanted_shares():
    ratio = dict.fromkeys(RATIO_BINS, 0.0) | {"0": 1.0, "100": 1.0}
    level = {str(k): float(k == 0) for k in range(8)}
    overrides = {"occlusion": {"ratio": {"choice": ratio}, "level": {"choice": level}}}
    target = Target(SimpleNamespace(distributions=SequenceConfig(0, overrides=overrides).distributions))
    wanted = Histograms(np.array([3, 0, 0, 0, 0, 3]), np.array([5, 0, 0, 0, 0, 0, 0, 0]))
    assert target.distance(wanted) == pytest.approx(0)
    other = Histograms(np.array([0, 4, 0, 0, 0, 0]), np.array([1, 1, 0, 0, 0, 0, 0, 0]))
    assert target.distance(other) == pytest.approx(1.0 + 0.5)


def build(seed, **designed):
    config = SequenceConfig(seed, frames=3, rate_hz=1.0, overrides={"occlusion": designed})
    town = build_town(config)
    traffic = build_traffic(config, town)
    return traffic, RayCaster(town.tiles)


def test_a_designed_scene_is_nearer_to_the_target_and_the_same_every_time():
    places = []
    for _ in range(2):
        traffic, caster = build(3, designed={"chance": 1.0})
        before = len(traffic.things)
        design = design_occlusion(traffic.population, traffic.ego, caster)
        assert design.after < design.before
        assert len(traffic.things) == before + design.planted - design.removed
        assert len({t.track_id for t in traffic.things}) == len(traffic.things)
        assert design.planted + design.removed > 3
        places.append(np.array([(t.track_id, *t.poses[0]) for t in traffic.things]))
    np.testing.assert_array_equal(*places)


@pytest.mark.parametrize("seed", [4, 6])
def test_planted_things_stand_clear_of_lanes_and_of_everything_at_all_times(seed):
    traffic, caster = build(seed, designed={"chance": 1.0}, most_planted={"integer": [30, 30]})
    old = {t.track_id for t in traffic.things}
    design_occlusion(traffic.population, traffic.ego, caster)
    planted = [t for t in traffic.things if t.track_id not in old]
    assert len(planted) > 3
    for thing in planted:
        corners = outline(box_of(thing, 0))
        for route in traffic.population.town.ways.routes:
            assert (np.abs(route.path.local(corners)[1]) > route.width / 2).all()
        for other in traffic.things:
            rows = range(len(other.poses))
            assert other is thing or not any(overlap(box_of(thing, 0), box_of(other, row)) for row in rows)


def box_of(thing, row):
    corners = np.array([thing.low, thing.high])[:, :2]
    matrix = thing.matrix(row)
    middle = corners.mean(0) @ matrix[:2, :2].T + matrix[:2, 3]
    return np.array([*middle, thing.poses[row, 3], *(corners[1] - corners[0])])


def test_every_rider_keeps_what_he_rides():
    pairs = 0
    for seed in (3, 8):
        traffic, caster = build(seed, designed={"chance": 1.0}, tries=400)
        design_occlusion(traffic.population, traffic.ego, caster)
        mounts = [t for t in traffic.things if t.class_id in (BIKE, MOTORCYCLE)]
        for rider in (t for t in traffic.things if t.class_id == RIDER):
            pairs += 1
            assert min(np.hypot(*(rider.poses[0, :2] - mount.poses[0, :2])) for mount in mounts) < 1.0
    assert pairs > 2


def test_a_scene_that_is_not_designed_stays_as_it_is():
    traffic, caster = build(3, designed={"chance": 0.0})
    before = [t.track_id for t in traffic.things]
    assert design_occlusion(traffic.population, traffic.ego, caster) is None
    assert [t.track_id for t in traffic.things] == before
