"""The ground under the LiDAR's returns: level, rising, falling, hidden by objects."""

import numpy as np
import pytest

from amodal_perception_ros.fusion.ground import height_over_ground

Z_MIN = 0.2


def plane(slope=0.0, noise=0.0):
    """Returns of a plane that rises along x from 3 m on, dense to 40 m."""
    rng = np.random.default_rng(1)
    radius, angle = np.meshgrid(np.arange(2.5, 40, 0.5), np.arange(-np.pi, np.pi, 0.02))
    x, y = (radius * np.cos(angle)).ravel(), (radius * np.sin(angle)).ravel()
    return np.stack([x, y, slope * np.maximum(x - 3, 0) + rng.normal(0, noise, x.size)], 1).astype(np.float32)


def column(x, y, low, high):
    z = np.arange(low, high, 0.1)
    return np.stack([np.full_like(z, x), np.full_like(z, y), z], 1).astype(np.float32)


def test_level_ground_changes_nothing():
    points = np.concatenate([plane(), column(12.3, 0, 0.1, 3.0)])
    assert np.array_equal(height_over_ground(points, Z_MIN), points[:, 2])


def test_noisy_level_ground_gives_no_obstacles():
    assert (height_over_ground(plane(noise=0.04), Z_MIN) < Z_MIN).all()


@pytest.mark.parametrize("slope", [0.03, 0.05, -0.03, -0.1])
def test_slopes_are_ground_and_a_pedestrian_on_them_is_an_obstacle(slope):
    ground = plane(slope)
    person = column(20.25, 0, 17.25 * slope + 0.05, 17.25 * slope + 1.7)
    height = height_over_ground(np.concatenate([ground, person]), Z_MIN)
    assert (height[: len(ground)] < Z_MIN).all()
    tall = person[:, 2] - 17.25 * slope > 0.4
    assert (height[len(ground) :][tall] >= Z_MIN).all()


def test_lone_distant_car_is_no_hill():
    ground = plane()
    near = ground[np.hypot(ground[:, 0], ground[:, 1]) < 15]
    car = np.concatenate([column(31, y, 0.35, 1.5) for y in np.arange(-1, 1, 0.1)])
    height = height_over_ground(np.concatenate([near, car]), Z_MIN)
    assert (height[len(near) :] >= Z_MIN).all()


def test_a_crown_over_a_hedge_does_not_sink():
    ground = plane()
    hidden = (np.abs(np.arctan2(ground[:, 1], ground[:, 0])) < 0.3) & (ground[:, 0] > 10)
    hedge = np.concatenate([column(x, 0, 1.0, 1.5) for x in np.arange(10.5, 20, 1.0)])
    crown = column(19.5, 0, 2.6, 4.0)
    points = np.concatenate([ground[~hidden], hedge, crown])
    assert np.array_equal(height_over_ground(points, Z_MIN)[-len(crown) :], crown[:, 2])


def test_a_reflection_far_below_does_not_lift_what_follows():
    ground = plane()
    pit = np.array([[10.2, 0.1, -2.0]], np.float32)
    height = height_over_ground(np.concatenate([ground, pit]), Z_MIN)
    beyond = (ground[:, 0] > 11.5) & (np.abs(ground[:, 1]) < 0.5)
    assert (height[:-1][beyond] < Z_MIN).all()


def test_no_points():
    assert height_over_ground(np.zeros((0, 3), np.float32), Z_MIN).shape == (0,)
