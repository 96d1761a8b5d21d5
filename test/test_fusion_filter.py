"""The Kalman filter of the tracks: motions with known answers, and invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.fusion import filter
from amodal_perception_ros.fusion.filter import HEADING, TURN, VX, VY, Gaussians, Measurements, Noise

STILL = Noise(np.zeros(1), np.zeros(1))
VEHICLE = np.array([True])
PERSON = np.array([False])


def state(x=0.0, y=0.0, vx=0.0, vy=0.0, heading=0.0, turn=0.0, cov=None):
    cov = np.diag([0.1, 0.1, 1.0, 1.0, 0.05, 0.05]) if cov is None else cov
    return Gaussians(np.array([[x, y, vx, vy, heading, turn]]), cov[None])


def measured(x, y, heading=0.0, stddev=0.2, heading_stddev=0.1):
    return Measurements(
        np.array([[x, y]]), stddev**2 * np.eye(2)[None], np.array([heading]), np.array([heading_stddev])
    )


def test_without_turning_a_velocity_is_kept():
    after = filter.predict(state(1.0, 2.0, 3.0, -1.0, cov=np.diag([0.1, 0.1, 4.0, 4.0, 0.0, 0.0])), STILL, 0.5)
    assert np.allclose(after.mean, [[2.5, 1.5, 3.0, -1.0, 0.0, 0.0]])
    assert after.cov[0, 0, 0] == pytest.approx(0.1 + 0.25 * 4.0)
    assert after.cov[0, 0, VX] == pytest.approx(0.5 * 4.0)


def test_a_quarter_of_a_circle():
    """At w = pi/2 a second and 1 m/s the radius is 2/pi; after a second the velocity points to +y."""
    after = filter.predict(state(vx=1.0, turn=np.pi / 2), STILL, 1.0)
    assert np.allclose(after.mean[0, :5], [2 / np.pi, 2 / np.pi, 0.0, 1.0, np.pi / 2])
    assert after.mean[0, TURN] == pytest.approx(np.pi / 2 * np.exp(-1.0 / filter.TURN_MEMORY_S))


def test_white_acceleration_adds_its_integral():
    after = filter.predict(state(cov=np.zeros((6, 6))), Noise(np.array([3.0]), np.array([0.6])), 2.0)
    assert after.cov[0, 0, 0] == pytest.approx(3.0 * 8 / 3)
    assert after.cov[0, 0, VX] == pytest.approx(3.0 * 2)
    assert after.cov[0, VY, VY] == pytest.approx(3.0 * 2)
    assert after.cov[0, HEADING, HEADING] == pytest.approx(0.6 * 8 / 3)


@pytest.mark.parametrize("turn", [0.0, 1e-4, 0.3, -1.2])
def test_jacobian_is_the_derivative(turn):
    before = state(1.0, 2.0, 5.0, -2.0, 0.4, turn)
    cov = np.zeros((6, 6))
    for k in range(6):
        step = np.zeros(6)
        step[k] = 1e-5
        there = filter.predict(Gaussians(before.mean + step, cov[None]), STILL, 0.7).mean
        back = filter.predict(Gaussians(before.mean - step, cov[None]), STILL, 0.7).mean
        column = (there - back)[0] / 2e-5
        unit = np.zeros((6, 6))
        unit[k, k] = 1.0
        spread = filter.predict(Gaussians(before.mean, unit[None]), STILL, 0.7).cov[0]
        assert np.allclose(spread, np.outer(column, column), atol=1e-5)


def test_a_measurement_as_good_as_the_state_is_met_half_way():
    after = filter.update(state(cov=np.diag([0.04, 0.04, 1.0, 1.0, 0.0, 0.0])), measured(1.0, 0.0), PERSON)
    assert after.mean[0, 0] == pytest.approx(0.5)
    assert after.cov[0, 0, 0] == pytest.approx(0.02)
    assert after.mean[0, VX] == 0.0


def test_front_and_back_of_a_measured_heading_are_one():
    ahead = filter.update(state(), measured(0.0, 0.0, 0.1), VEHICLE)
    behind = filter.update(state(), measured(0.0, 0.0, 0.1 + np.pi), VEHICLE)
    assert np.allclose(ahead.mean, behind.mean)
    assert 0.0 < ahead.mean[0, HEADING] < 0.1


def test_a_heading_across_pulls_little():
    """Length and width were mistaken for one another once: 90 degrees off."""
    cov = np.diag([0.1, 0.1, 0.01, 0.01, 0.01, 0.01])
    after = filter.update(state(cov=cov), measured(0.0, 0.0, np.pi / 2 - 0.01), VEHICLE)
    assert abs(after.mean[0, HEADING]) < 0.3


def test_an_unknown_heading_changes_nothing_of_it():
    after = filter.update(state(), measured(0.0, 0.0, 1.0, heading_stddev=np.inf), VEHICLE)
    assert abs(after.mean[0, HEADING]) < 1e-5


def test_a_vehicle_does_not_slip():
    after = filter.update(state(vx=5.0, vy=2.0), measured(0.0, 0.0), VEHICLE)
    assert abs(after.mean[0, VY]) < 0.5
    assert filter.update(state(vx=5.0, vy=2.0), measured(0.0, 0.0), PERSON).mean[0, VY] == pytest.approx(2.0)


def track(positions, headings, vehicle, noise, dt=0.1):
    states = state(*positions[0], heading=headings[0], cov=np.diag([0.05, 0.05, 50.0, 50.0, 0.05, 0.1 * vehicle[0]]))
    for place, heading in zip(positions[1:], headings[1:]):
        states = filter.predict(states, noise, dt)
        states = filter.update(states, measured(*place, heading), vehicle)
    return states


def test_a_walker_is_followed():
    t = np.arange(20) * 0.1
    places = np.stack([1.2 * t, -0.5 * t], axis=1)
    states = track(places, np.zeros(20), PERSON, Noise(np.array([0.5]), np.zeros(1)))
    assert np.allclose(states.mean[0, VX : VY + 1], [1.2, -0.5], atol=0.05)
    assert states.mean[0, TURN] == 0.0


def test_a_turning_car_is_followed_and_foretold():
    """Radius 10 m at 5 m/s: 0.5 rad/s. After 3 s of it, one second is foretold better than by a straight line."""
    angle = np.arange(31) * 0.05
    places = 10 * np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1)
    states = track(places, angle, VEHICLE, Noise(np.array([2.0]), np.array([0.1])))
    assert states.mean[0, TURN] == pytest.approx(0.5, abs=0.07)
    assert np.hypot(*states.mean[0, VX : VY + 1]) == pytest.approx(5.0, abs=0.3)
    true = 10 * np.array([np.sin(2.0), 1 - np.cos(2.0)])
    ahead = filter.predict(states, STILL, 1.0).mean[0, :2]
    straight = states.mean[0, :2] + states.mean[0, VX : VY + 1]
    assert np.linalg.norm(ahead - true) < 0.6 < 1.0 < np.linalg.norm(straight - true)


def test_what_stands_is_held_and_what_moves_is_not():
    known = np.diag([0.1, 0.1, 0.2, 0.2, 0.05, 0.05])
    assert filter.is_standing(state(vx=0.3, cov=known)).tolist() == [True]
    assert filter.is_standing(state(vx=0.6, cov=known)).tolist() == [False]
    assert filter.is_standing(state(vx=0.0)).tolist() == [False]
    held = filter.hold(state(vx=0.3, cov=known), np.array([True]))
    assert held.mean[0, VX] == pytest.approx(0.3 * 0.25 / (0.25 + 0.2))
    assert np.allclose(filter.hold(state(vx=0.3), np.array([False])).mean, state(vx=0.3).mean, atol=1e-5)


def test_sigma_positions_have_the_moments():
    cov = np.diag([4.0, 1.0, 1, 1, 1, 1.0])
    cov[0, 1] = cov[1, 0] = 0.7
    positions, weights = filter.sigma_positions(state(3.0, -2.0, cov=cov), np.array([0.5]))
    mean = weights @ positions[0]
    assert np.allclose(mean, [3.0, -2.0])
    spread = positions[0] - mean
    assert np.allclose(np.einsum("k,ki,kj->ij", weights, spread, spread), cov[:2, :2] + 0.25 * np.eye(2))


def test_equal_weights_change_nothing_and_a_place_seen_empty_moves_the_rest():
    cov = np.diag([1.0, 0.01, 1.0, 1.0, 0.1, 0.1])
    cov[0, VX] = cov[VX, 0] = 0.5
    states, bias = state(cov=cov), np.zeros(1)
    positions, weights = filter.sigma_positions(states, bias)
    same = filter.reweigh(states, bias, positions, weights[None])
    assert np.allclose(same.mean, states.mean)
    assert np.allclose(same.cov, states.cov)
    left_empty = np.where(positions[0, :, 0] < -1.0, 0.0, weights)
    moved = filter.reweigh(states, bias, positions, left_empty[None])
    shift = np.sqrt(3.0) / 6 / (5 / 6)
    assert moved.mean[0, 0] == pytest.approx(shift)
    assert moved.mean[0, VX] == pytest.approx(0.5 * shift)
    assert moved.cov[0, 0, 0] < 1.0


def test_half_a_turn_leaves_the_velocity():
    after = filter.turned(state(vx=-3.0), np.array([True]))
    assert np.allclose(after.mean[0, VX], -3.0)
    assert filter.forward_speed(after)[0] == pytest.approx(3.0)


numbers = st.floats(-20, 20)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(numbers, numbers, st.floats(-9, 9), st.booleans()), min_size=1, max_size=30),
    st.floats(0.0, 3.0),
    st.booleans(),
)
def test_covariances_stay_symmetric_and_positive(steps, seconds, is_vehicle):
    vehicle = np.array([is_vehicle])
    states = state(cov=np.diag([1.0, 1.0, 60.0, 60.0, 0.1, 0.1 * is_vehicle]))
    for x, y, heading, known in steps:
        states = filter.predict(states, Noise(np.array([2.0]), np.array([0.1 * is_vehicle])), seconds)
        states = filter.update(states, measured(x, y, heading, heading_stddev=0.1 if known else np.inf), vehicle)
        states = filter.hold(states, filter.is_standing(states))
        assert np.isfinite(states.mean).all()
        assert np.allclose(states.cov, states.cov.transpose(0, 2, 1))
        assert np.linalg.eigvalsh(states.cov[0]).min() > -1e-9


def test_no_objects_are_no_error():
    none = Gaussians(np.zeros((0, 6)), np.zeros((0, 6, 6)))
    after = filter.predict(none, Noise(np.zeros(0), np.zeros(0)), 0.1)
    nothing = Measurements(np.zeros((0, 2)), np.zeros((0, 2, 2)), np.zeros(0), np.zeros(0))
    assert filter.update(after, nothing, np.zeros(0, bool)).mean.shape == (0, 6)
    assert filter.sigma_positions(after, np.zeros(0))[0].shape == (0, 5, 2)
