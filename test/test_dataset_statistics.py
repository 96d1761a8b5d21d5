"""Counts of a data set's content, on scenes and masks that can be counted by hand."""

import json

import cv2
import numpy as np
import pytest
from dataset_samples import make_sample

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceWriter
from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.datasets.statistics import (
    DatasetStatistics,
    convexity,
    dataset_statistics,
    simplicity,
    visible_levels,
)
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import Camera, CameraScene, Instance, OcclusionOrder
from amodal_perception_ros.viewing.histograms import draw_statistics

SIZE = 40


def make_instance(segment, visible, amodal, level=0):
    """An instance from (left, top, right, bottom) boxes; None is nothing."""

    def mask(box):
        array = np.zeros((SIZE, SIZE), bool)
        if box is not None:
            array[box[1] : box[3], box[0] : box[2]] = True
        return RoiMask.from_array(array)

    whole = mask(amodal)
    depth = np.full((whole.height, whole.width), 5, np.float32)
    return Instance(segment, segment // 1000, 1.0, mask(visible), whole, level, 5.0, 5.0, 0.0, depth, segment % 1000)


def make_scene(instances, edges=(), stuff=7000):
    labels = np.full((SIZE, SIZE), stuff, np.uint16)
    for instance in instances:
        labels[instance.visible_mask.to_array(SIZE, SIZE)] = instance.instance_id
    occluders, occludees = (np.array([edge[k] for edge in edges], np.uint32) for k in range(2))
    ones = np.ones(len(edges), np.float32)
    order = OcclusionOrder(occluders, occludees, ones, ones.astype(np.uint32), ones < 0)
    camera = Camera("front", SIZE, SIZE, np.diag([30.0, 30.0, 1.0]), np.eye(4))
    return CameraScene(camera, 0, labels, np.full((SIZE, SIZE), 5, np.float32), instances, order)


CAR = make_instance(26001, (0, 0, 10, 10), (0, 0, 10, 10))
PERSON = make_instance(24002, (10, 0, 20, 8), (0, 0, 20, 8))
HIDDEN = make_instance(24003, None, (0, 0, 5, 5))
BUS = make_instance(28004, (20, 0, 30, 1), (0, 0, 30, 10))


def test_one_image_is_counted_as_by_hand():
    edges = [(26001, 24002), (24002, 28004), (26001, 28004), (28004, 24003)]
    statistics = DatasetStatistics()
    statistics.add(make_scene([CAR, PERSON, HIDDEN, BUS], edges))
    assert statistics.segments == {"road": 1, "car": 1, "person": 1, "bus": 1}
    assert (statistics.instances, statistics.images) == (3, 1)
    assert statistics.occluded == {"car": 0, "person": 1, "bus": 1}
    assert statistics.hidden == {"person": 1}
    assert statistics.levels.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert statistics.orders.tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert np.flatnonzero(statistics.classes).tolist() == [4]
    # Hidden shares: car 0, person 80 of 160 px, bus 290 of 300 px, and the fully hidden person.
    assert statistics.ratios.tolist() == [1, 0, 0, 1, 1, 1]
    assert len(statistics.simplicity) == 2, "the bus shows 10 px, too few for a shape"


def test_chains_through_fully_hidden_objects_do_not_count():
    scene = make_scene([CAR, HIDDEN, PERSON], [(26001, 24003), (24003, 24002), (26001, 24002)])
    assert visible_levels(scene).tolist() == [0, 1, 1]


def test_simplicity_and_convexity_of_known_shapes():
    disc = cv2.circle(np.zeros((121, 121), np.uint8), (60, 60), 55, 1, -1) > 0
    assert simplicity(np.ones((100, 100), bool)) == pytest.approx(np.sqrt(np.pi) / 2, abs=0.01)
    assert simplicity(np.ones((10, 160), bool)) == pytest.approx(np.sqrt(4 * np.pi * 1600) / 340, abs=0.01)
    assert 0.93 < simplicity(disc) <= 1
    frame = np.ones((40, 40), bool)
    frame[10:30, 10:30] = False
    assert simplicity(frame) == pytest.approx(np.sqrt(4 * np.pi * 1200) / 240, abs=0.02)
    assert convexity(np.ones((30, 50), bool)) == pytest.approx(1, abs=0.01)
    assert convexity(frame) == pytest.approx(0.75, abs=0.02)
    assert simplicity(np.ones((1, 1), bool)) <= 1


def test_a_written_data_set_is_counted_printed_and_drawn(tmp_path):
    samples = [make_sample(index) for index in range(3)]
    with SequenceWriter(tmp_path) as writer:
        for sample in samples:
            writer.write(sample)
    statistics = dataset_statistics(tmp_path)
    assert (statistics.sequences, statistics.frames, statistics.images) == (1, 3, 6)
    things = [i for sample in samples for scene in sample.truth.cameras.values() for i in scene.instances]
    seen = [i for i in things if i.visible_mask.area]
    assert statistics.instances == len(seen) == statistics.levels.sum()
    assert statistics.hidden.total() == len(things) - len(seen) == statistics.ratios[-1]
    files = sum(p.stat().st_size for p in tmp_path.rglob("*full_*"))
    assert statistics.bytes_per_frame == pytest.approx(files / 3)
    table = str(statistics)
    assert "1 sequences, 3 frames, 6 images" in table
    assert "0.571" in table
    assert "0.654" in table
    assert json.loads(json.dumps(statistics.to_dict()))["images"] == 6
    draw_statistics(statistics, tmp_path / "statistics.png")
    picture = cv2.imread(str(tmp_path / "statistics.png"))
    assert picture.shape[1] == 1500
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_an_empty_count_prints_and_draws(tmp_path):
    assert "nan" in str(DatasetStatistics())
    draw_statistics(DatasetStatistics(), tmp_path / "statistics.png")
    assert (tmp_path / "statistics.png").stat().st_size > 1000


def test_a_folder_without_data_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        dataset_statistics(tmp_path / "nothing")
