"""Pictures of depth, flow, segments and motion have the colours that their values say."""

from dataclasses import replace

import numpy as np
import pytest
from dataset_samples import make_sample

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.viewing.modalities import draw_depth, draw_flow, draw_modalities, draw_segments

GREY = (60, 60, 60)


def test_flow_is_hue_by_direction_pale_when_slow_and_grey_when_unknown():
    flow = np.zeros((2, 3, 2), np.float32)
    flow[0, 0], flow[0, 1], flow[0, 2] = (10, 0), (-10, 0), (0, 0)
    flow[1] = np.nan
    picture = draw_flow(flow)
    assert picture[0, 0].tolist() == [255, 0, 0]
    assert picture[0, 1].tolist() == [0, 255, 255]
    assert picture[0, 2].tolist() == [255, 255, 255]
    assert (picture[1] == GREY).all()
    assert (draw_flow(np.full((2, 2, 2), np.nan, np.float32)) == GREY).all()


def test_near_depth_is_brighter_and_unknown_is_grey():
    picture = draw_depth(np.array([[1.0, 10.0, 60.0, np.nan]], np.float32)).astype(int)
    brightness = picture[0].sum(-1)
    assert brightness[0] > brightness[1] > brightness[2]
    assert picture[0, 3].tolist() == list(GREY)


def test_segments_have_their_class_colours():
    road, car = BY_NAME["road"], BY_NAME["car"]
    picture = draw_segments(np.array([[road.id * 1000, 0, car.id * 1000 + 5]], np.uint16))
    assert picture[0, 0].tolist() == list(road.color)
    assert picture[0, 1].tolist() == [0, 0, 0]
    assert picture[0, 2].tolist() == list(car.color)


def test_all_tiles_are_drawn_and_missing_ones_are_grey():
    sample = make_sample(0)
    name, image = next(iter(sample.frame.images.items()))
    height, width = image.shape[:2]
    picture = draw_modalities(sample, name)
    assert picture.shape == (2 * height, 4 * width, 3)
    np.testing.assert_array_equal(picture[30:height, :width], image[30:])
    bare = replace(sample, flow={}, moving=None, bev_image=None, frame=replace(sample.frame, lidar=None))
    tiles = draw_modalities(bare, name)[height:]
    assert (tiles[30:] == GREY).all()


@pytest.mark.parametrize("moving", [True, False])
def test_moving_things_are_red_and_standing_ones_blue(moving):
    sample = make_sample(0)
    name = next(iter(sample.frame.images))
    scene = sample.truth.cameras[name]
    tracks = frozenset(i.track_id for i in scene.instances) if moving else frozenset()
    height, width = scene.labels.shape
    tile = draw_modalities(replace(sample, moving=tracks), name)[height:, width : 2 * width].astype(int)
    things = np.abs(tile - GREY).max(-1) > 20
    red, blue = (tile[..., 0] > tile[..., 2] + 40) & things, (tile[..., 2] > tile[..., 0] + 40) & things
    assert (red.any(), blue.any()) == (moving, not moving)
