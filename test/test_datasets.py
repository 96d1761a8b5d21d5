"""Sequences on disk: exact round trip, the public encodings, interruptions, the real data set's gaps, wrong files."""

import json
import multiprocessing
import os
import pickle
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
from dataset_samples import make_rig, make_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.amodal_synth_drive import (
    DatasetError,
    SequenceReader,
    SequenceWriter,
    read_sequence,
    read_sequences,
)
from amodal_perception_ros.datasets.sequence_json import object_from_json, object_to_json
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import SurroundFrame

FRAMES = 3


def write(root, seed=0, sequence="made", frames=FRAMES, split=None):
    samples = [make_sample(index, seed, sequence=sequence) for index in range(frames)]
    with SequenceWriter(root, split) as writer:
        for sample in samples:
            writer.write(sample)
    return samples


@pytest.fixture
def data(tmp_path):
    write(tmp_path)
    return tmp_path


def edges(order):
    columns = (order.occluder_ids, order.occludee_ids, order.probability, order.overlap_px, order.in_cycle)
    return Counter(zip(*(column.tolist() for column in columns)))


def assert_scenes_equal(read, written):
    assert np.array_equal(read.labels, written.labels)
    assert np.array_equal(np.isnan(read.depth), np.isnan(written.depth))
    assert np.nanmax(np.abs(read.depth - written.depth)) <= 0.5 / 256
    assert [i.instance_id for i in read.instances] == [i.instance_id for i in written.instances]
    for got, want in zip(read.instances, written.instances):
        assert (got.class_id, got.track_id, got.score) == (want.class_id, want.track_id, want.score)
        assert got.occlusion_level == want.occlusion_level
        assert got.visible_mask == want.visible_mask
        assert got.amodal_mask == want.amodal_mask
        assert got.amodal_mask.box == want.amodal_mask.box
        assert np.allclose(got.depth, want.depth, atol=0.5 / 256, equal_nan=True)
        assert got.visible_depth == pytest.approx(want.visible_depth, abs=1e-4, nan_ok=True)
        assert got.amodal_depth == pytest.approx(want.amodal_depth, abs=1e-4)
        assert np.isnan(got.amodal_depth_stddev)
    assert edges(read.order) == edges(written.order)


@pytest.mark.parametrize("seed", range(5))
def test_samples_come_back_as_they_were_written(tmp_path, seed):
    written = write(tmp_path, seed)
    reader = read_sequence(tmp_path)
    assert (reader.name, len(reader), reader.missing) == ("made", FRAMES, ())
    for sample, want in zip(reader, written):
        assert (sample.sequence, sample.index) == ("made", want.index)
        assert list(sample.truth.cameras) == ["front", "right"]
        assert sample.truth.model_id == "ground truth"
        for name, scene in want.truth.cameras.items():
            assert sample.truth.cameras[name].stamp_ns == scene.stamp_ns
            assert_scenes_equal(sample.truth.cameras[name], scene)
    hidden = [i for s in written for c in s.truth.cameras.values() for i in c.instances if i.visible_mask.area == 0]
    leaving = [i for s in written for c in s.truth.cameras.values() for i in c.instances if min(i.amodal_mask.box) < 0]
    assert hidden
    assert leaving


def test_sensor_data_comes_back(data):
    reader, want = read_sequence(data), make_sample(2)
    frame = reader[-1].frame
    assert (frame.stamp_ns, frame.lidar_stamp_ns) == (want.frame.stamp_ns, want.frame.lidar_stamp_ns)
    assert frame.image_stamps_ns == want.frame.image_stamps_ns
    assert np.array_equal(frame.odom_from_base, want.frame.odom_from_base)
    for name, image in want.frame.images.items():
        assert np.abs(frame.images[name].astype(int) - image).mean() < 2.0
    assert np.abs(frame.lidar[:, :3] - want.frame.lidar[:, :3]).max() <= codecs.LIDAR_STEP / 2
    assert np.abs(frame.lidar[:, 3] - want.frame.lidar[:, 3]).max() <= 0.5 / 255 + 1e-6
    for camera in want.frame.rig.cameras:
        assert np.array_equal(reader.rig.camera(camera.name).intrinsics, camera.intrinsics)
        assert np.array_equal(reader.rig.camera(camera.name).base_from_camera, camera.base_from_camera)
    assert np.array_equal(reader.rig.base_from_lidar, want.frame.rig.base_from_lidar)


def test_boxes_and_bev_come_back(data):
    sample, want = read_sequence(data)[1], make_sample(1)
    got, thing = sample.objects[0], want.objects[0]
    assert np.array_equal(got.velocity, thing.velocity, equal_nan=True)
    assert np.array_equal(got.center, thing.center)
    assert np.array_equal(got.size, thing.size)
    names = ("track_id", "class_id", "yaw", "visible_fraction", "cameras", "last_seen_ns", "position_stddev")
    assert [getattr(got, n) for n in names] == [getattr(thing, n) for n in names]
    for name in ("visible", "amodal", "semantic", "evidence"):
        assert np.array_equal(getattr(sample.bev, name), getattr(want.bev, name))
        assert getattr(sample.bev, name).dtype == getattr(want.bev, name).dtype
    for name in ("stamp_ns", "resolution", "origin", "z_min", "z_max", "sources"):
        assert getattr(sample.bev, name) == getattr(want.bev, name)


def test_stated_deviations_of_a_box_come_back_and_others_are_not_written():
    thing = make_sample(1).objects[0]
    assert not {"covariance", "size_stddev", "yaw_rate"} & set(object_to_json(thing))
    assert np.array_equal(object_from_json(object_to_json(thing)).covariance, thing.covariance)
    thing.covariance = np.diag([0.25, 1.0, 0.04, -1, -1, 0.01])
    thing.covariance[0, 1] = thing.covariance[1, 0] = -0.125
    thing.size_stddev, thing.yaw_rate = np.array([0.5, np.nan, 0.25]), -0.125
    back = object_from_json(json.loads(json.dumps(object_to_json(thing))))
    assert np.array_equal(back.covariance, thing.covariance)
    assert np.array_equal(back.size_stddev, thing.size_stddev, equal_nan=True)
    assert back.yaw_rate == thing.yaw_rate
    with pytest.raises(ValueError, match="object 3: covariance must have shape"):
        object_from_json({**object_to_json(thing), "covariance": [[1.0]]})


def test_absent_sensors_stay_absent(tmp_path):
    sample = make_sample(0)
    frame = sample.frame
    sample.frame = SurroundFrame(
        frame.stamp_ns, frame.rig, {"right": frame.images["right"]}, missing=("front", "lidar", "odometry")
    )
    sample.bev, sample.objects = None, []
    del sample.truth.cameras["front"]
    with SequenceWriter(tmp_path) as writer:
        writer.write(sample)
    got = read_sequence(tmp_path)[0]
    assert (got.frame.lidar, got.frame.odom_from_base, got.bev, got.objects) == (None, None, None, [])
    assert (list(got.frame.images), list(got.truth.cameras)) == (["right"], ["right"])
    assert got.frame.missing == ("front", "lidar", "odometry")


def test_files_hold_the_public_encodings(data):
    scene = make_sample(0).truth.cameras["front"]
    folder = data / "amodal_panoptic_seg" / "front" / "made"
    pixels = cv2.imread(str(folder / "front_full_0000_ampano.png"), cv2.IMREAD_UNCHANGED)
    assert pixels.dtype == np.uint16
    assert set(np.unique(pixels[pixels < 1000])) == {7, 23}
    assert np.array_equal(pixels[pixels >= 1000], scene.labels[scene.labels % 1000 > 0])
    entries = json.loads((folder / "front_full_0000_ampano.json").read_text())
    for instance in scene.instances:
        entry = entries[str(instance.instance_id)]
        assert entry["occluded"] == (instance.hidden_mask.clipped(64, 96).area > 0)
        amodal = coco_mask.decode(entry["amodal_mask"]).astype(bool)
        assert np.array_equal(amodal, instance.amodal_mask.to_array(64, 96))
        if entry["occluded"]:
            hidden = coco_mask.decode(entry["occlusion_mask"]).astype(bool)
            assert np.array_equal(hidden, instance.hidden_mask.to_array(64, 96))
        else:
            assert entry["occlusion_mask"] == []


def test_a_public_loader_that_stops_at_an_empty_level_finds_every_instance(tmp_path):
    sample = make_sample(0)
    scene = sample.truth.cameras["front"]
    for instance in scene.instances:
        instance.occlusion_level += 2
    with SequenceWriter(tmp_path) as writer:
        writer.write(sample)
    levels = json.loads((tmp_path / "amodal_panoptic_seg/front/made/front_full_0000_rel.json").read_text())
    assert list(levels) == [str(n) for n in range(8)]
    assert levels["0"] == levels["1"] == [0]
    found = []
    for ids in levels.values():
        if not ids:
            break
        found += [segment for segment in ids if segment]
    assert sorted(found) == sorted(instance.instance_id for instance in scene.instances)


def test_depth_is_stored_in_steps_of_1_over_256_metres():
    depth = np.array([[1.0, 2.5, np.nan, 0.001, 255.99, 256.1, np.inf]], np.float32)
    values = codecs.quantise_depth(depth)
    assert values.tolist() == [[256, 640, 0, 1, 65533, 0, 0]]
    assert codecs.restore_depth(values)[0, :2].tolist() == [1.0, 2.5]
    assert np.isnan(codecs.restore_depth(values)[0, 2])


@pytest.mark.parametrize(("span", "step"), [(10.0, 1 / 256), (127.0, 1 / 256), (200.0, 1 / 128), (1000.0, 1 / 16)])
def test_lidar_step_grows_with_the_range(tmp_path, span, step):
    points = np.array([[span, -1.23, 0.5, 200.0], [0.1, -span, 3.0, np.nan]], np.float32)
    codecs.write_lidar(tmp_path / "a.npz", points)
    read, segments, rings = codecs.read_lidar(tmp_path / "a.npz")
    assert (segments, rings) == (None, None)
    assert np.abs(read[:, :3] - points[:, :3]).max() <= step / 2
    assert read[:, 3].tolist() == pytest.approx([200.0, 0.0])
    with pytest.raises(ValueError, match="NaN"):
        codecs.write_lidar(tmp_path / "b.npz", np.full((1, 4), np.nan, np.float32))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(-9, 25), st.integers(-9, 18), st.floats(0, 1))
def test_masks_are_encoded_like_coco(seed, x, y, share):
    shape = (16, 23)
    pixels = np.random.default_rng(seed).random((12, 9)) < share
    mask = RoiMask.from_array(pixels, x, y)
    rle = codecs.encode_mask(mask, *shape)
    expected = coco_mask.encode(np.asfortranarray(mask.to_array(*shape).astype(np.uint8)))
    assert rle["counts"] == expected["counts"].decode()
    assert codecs.decode_mask("file", "key", rle, shape) == mask.clipped(*shape)


def test_writing_fails_clearly_out_of_order_or_twice(data, tmp_path):
    with SequenceWriter(tmp_path / "other") as writer:
        writer.write(make_sample(0))
        with pytest.raises(ValueError, match="expected frame 1 of sequence 'made', got frame 2"):
            writer.write(make_sample(2))
        with pytest.raises(ValueError, match="got frame 1 of 'another'"):
            writer.write(make_sample(1, sequence="another"))
    with pytest.raises(DatasetError, match=r"made\.json: the sequence exists already"):
        write(data)
    with pytest.raises(ValueError, match="may hold letters"), SequenceWriter(tmp_path) as writer:
        writer.write(make_sample(0, sequence="../x"))
    with pytest.raises(ValueError, match="split must be"):
        SequenceWriter(tmp_path, split="trian")


def test_a_failed_run_leaves_nothing(tmp_path):
    def fail_after_one_frame():
        with SequenceWriter(tmp_path) as writer:
            writer.write(make_sample(0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_one_frame()
    assert list(tmp_path.iterdir()) == []


def _die_while_writing(root):
    writer = SequenceWriter(root)
    writer.write(make_sample(0, 5))
    os._exit(1)


def test_a_killed_run_leaves_no_sequence_and_can_be_repeated(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_die_while_writing, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 1
    with pytest.raises(DatasetError, match="holds no finished sequence"):
        read_sequences(tmp_path)
    written = write(tmp_path)
    assert_scenes_equal(read_sequence(tmp_path)[0].truth.cameras["front"], written[0].truth.cameras["front"])
    assert not (tmp_path / ".partial").exists()


def test_a_sequence_without_its_marker_is_overwritten(data):
    (data / "sequences/made.json").unlink()
    with pytest.raises(DatasetError):
        read_sequences(data)
    write(data, seed=3, frames=1)
    reader = read_sequence(data)
    assert len(reader) == 1
    assert len(list((data / "images/front/made").iterdir())) == 1
    assert_scenes_equal(reader[0].truth.cameras["front"], make_sample(0, 3).truth.cameras["front"])


def test_splits_and_single_sequences_are_found(tmp_path):
    write(tmp_path, sequence="b", frames=1, split="train")
    write(tmp_path, sequence="a", frames=1, split="train")
    write(tmp_path, sequence="c", frames=1, split="val")
    assert [r.name for r in read_sequences(tmp_path)] == ["a", "b", "c"]
    assert [r.name for r in read_sequences(tmp_path / "train")] == ["a", "b"]
    assert read_sequence(tmp_path / "train" / "b").name == "b"
    with pytest.raises(DatasetError, match=r"holds 3 sequences \(a, b, c"):
        read_sequence(tmp_path)
    with pytest.raises(DatasetError, match="nowhere: does not exist"):
        read_sequences(tmp_path / "nowhere")


def test_reader_is_a_sequence_and_travels_between_processes(data):
    reader = pickle.loads(pickle.dumps(read_sequence(data)))
    assert np.array_equal(reader[-1].truth.cameras["front"].labels, reader[2].truth.cameras["front"].labels)
    with pytest.raises(IndexError, match="frame 3 of sequence 'made', which has 3"):
        reader[3]
    assert len(list(reader)) == 3
    shallow = reader.scene(0, "right", with_depth=False)
    assert np.isnan(shallow.depth).all()
    assert shallow.instances[0].amodal_mask == reader[0].truth.cameras["right"].instances[0].amodal_mask
    assert reader.size_bytes() > 1000
    assert reader.image_path(1, "front").is_file()


@pytest.fixture
def public_data(data):
    """The pieces that the public data set is known to have, with its unoccluded masks left empty."""
    for name in (
        "sequences",
        "frames",
        "depth",
        "amodal_depth",
        "lidar",
        "bboxes",
        "bev",
        "amodal_motion_seg",
        "panoptic_seg",
    ):
        shutil.rmtree(data / name)
    for path in data.rglob("*_ampano.json"):
        entries = json.loads(path.read_text())
        kept = {}
        for key, entry in entries.items():
            kept[key] = {k: entry[k] for k in ("occluded", "occlusion_mask", "amodal_mask", "category_id", "track_id")}
            if not entry["occluded"]:
                kept[key]["amodal_mask"] = []
        path.write_text(json.dumps(kept))
    return data


def test_the_public_data_set_is_read_and_says_what_it_lacks(public_data):
    reader = read_sequence(public_data, rig=make_rig())
    assert reader.missing == (
        *("stamps", "odometry", "depth", "lidar", "point_segments", "point_rings", "boxes", "bev", "bev_labels"),
        *("motion", "imu", "gnss"),
    )
    assert len(reader) == FRAMES
    sample, want = reader[1], make_sample(1)
    assert sample.frame.stamp_ns == 100_000_000
    assert (sample.frame.lidar, sample.frame.odom_from_base, sample.bev, sample.objects) == (None, None, None, [])
    assert (sample.moving, sample.imu, sample.gnss, sample.bev_labels) == (None, None, None, None)
    assert np.nanmax(np.abs(sample.flow["front"] - want.flow["front"])) < 0.0183
    assert sample.bev_image.shape == (20, 30, 3)
    scene, truth = sample.truth.cameras["front"], want.truth.cameras["front"]
    expected = {i.instance_id: i for i in truth.instances if i.amodal_mask.clipped(64, 96).area}
    assert {i.instance_id for i in scene.instances} == set(expected)
    for instance in scene.instances:
        clipped = expected[instance.instance_id].amodal_mask.clipped(64, 96)
        assert instance.amodal_mask == clipped
        assert instance.visible_mask == expected[instance.instance_id].visible_mask
        assert instance.occlusion_level == expected[instance.instance_id].occlusion_level
        assert np.isnan(instance.depth).all()
    with pytest.raises(DatasetError, match=r"sequence 'made' in .* has no depth, bev"):
        reader.require("depth", "levels", "bev")
    reader.require("levels")


def test_the_public_data_set_is_read_without_a_calibration(public_data):
    reader = read_sequence(public_data)
    assert reader.missing[0] == "calibration"
    with pytest.raises(DatasetError, match="has no calibration; give the calibration as `rig`"):
        reader.require("calibration")
    front = reader[1].frame.rig.camera("front")
    assert (front.width, front.height, front.is_calibrated) == (96, 64, False)
    for name, scene in read_sequence(public_data, rig=make_rig())[1].truth.cameras.items():
        assert np.array_equal(reader[1].truth.cameras[name].labels, scene.labels)


def test_the_publics_labelling_errors_are_mended_and_counted(public_data):
    path = public_data / "amodal_panoptic_seg/front/made/front_full_0000_ampano.png"
    annotation = path.with_suffix(".json")
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    entries = json.loads(annotation.read_text())
    pixels[:] = 23
    pixels[0, 0], pixels[1, 1], pixels[2, :3], pixels[3, :4] = 34, 35, 21001, 26001
    shifted = np.zeros((64, 96), np.uint8)
    shifted[3, 2:8] = 1
    mask = coco_mask.encode(np.asfortranarray(shifted))
    mask["counts"] = mask["counts"].decode()
    entries = {
        "26001": {"occluded": True, "amodal_mask": mask, "occlusion_mask": mask, "category_id": 26, "track_id": 1},
        "21001": {"occluded": False, "amodal_mask": [], "occlusion_mask": [], "category_id": 21, "track_id": 2},
        "24009": {"occluded": True, "amodal_mask": {"size": [64, 96], "counts": [64 * 96]}, "track_id": 3},
    }
    cv2.imwrite(str(path), pixels)
    annotation.write_text(json.dumps(entries))
    reader = read_sequence(public_data, rig=make_rig())
    scene = reader.scene(0, "front")
    assert (scene.labels[0, 0], scene.labels[1, 1], scene.labels[2, 0]) == (7000, 0, 0)
    assert [i.instance_id for i in scene.instances] == [26001]
    assert scene.instances[0].visible_mask.area == 4
    assert scene.instances[0].amodal_mask.box == (0, 3, 8, 4)
    assert dict(reader.repairs) == {
        "pixels of class 21 (vegetation) with a number of the wrong kind, read as unlabelled": 3,
        "amodal masks without part of the visible mask, joined": 1,
        "occlusion masks that reach into the visible part, cut": 1,
        "segments that are no thing, dropped": 1,
        "segments without a pixel, dropped": 1,
        "levels of segments that the JSON lacks, ignored": 6,
    }
    place = f"{annotation}: segment 21001"
    assert reader.repairs.places["segments that are no thing, dropped"] == [place]


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _shrink(path):
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), picture[:10, :10])


def _edit(*keys, value=None):
    def apply(path):
        content = json.loads(path.read_text())
        target = content
        for key in keys[:-1]:
            target = target[key if key != "*" else next(iter(target))]
        if value is None:
            del target[keys[-1]]
        else:
            target[keys[-1]] = value
        path.write_text(json.dumps(content))

    return apply


WRONG = [
    ("images/front/made/front_full_0000_rgb.jpg", lambda p: p.unlink(), "cannot be read"),
    ("images/front/made/front_full_0000_rgb.jpg", _truncate, "truncated"),
    ("images/front/made/front_full_0000_rgb.jpg", _shrink, "10 x 10, calibrated 96 x 64"),
    ("amodal_panoptic_seg/right/made/right_full_0000_ampano.png", _truncate, "truncated"),
    ("amodal_panoptic_seg/right/made/right_full_0000_ampano.png", _shrink, "expected a 16-bit"),
    ("amodal_panoptic_seg/right/made/right_full_0000_ampano.json", _truncate, "not valid JSON"),
    (
        "amodal_panoptic_seg/right/made/right_full_0000_ampano.json",
        _edit("*", "amodal_mask", value={"size": [2, 2], "counts": "04"}),
        "2 rows and 2 columns instead of 64 and 96",
    ),
    (
        "amodal_panoptic_seg/right/made/right_full_0000_ampano.json",
        _edit("*", "amodal_mask", value={"size": [64, 96]}),
        "not a COCO",
    ),
    ("amodal_panoptic_seg/right/made/right_full_0000_ampano.json", _edit("26x", value=[1]), "not an amodal segment"),
    ("amodal_panoptic_seg/right/made/right_full_0000_ampano.json", _edit("26001", value=[1]), "not an amodal segment"),
    ("amodal_panoptic_seg/right/made/right_full_0000_rel.json", _edit("0", value=3), "not a map of level"),
    ("amodal_panoptic_seg/right/made/right_full_0000_rel.json", _edit("9", value=[26001]), "level"),
    ("depth/front/made/front_full_0000_depth.png", lambda p: p.write_bytes(b""), "0 bytes"),
    ("lidar/made/full_0000_lidar.npz", _truncate, "not a LiDAR sweep"),
    ("lidar/made/full_0000_lidar.npz", lambda p: p.unlink(), "cannot be read"),
    ("frames/made/full_0000_frame.json", _edit("lidar_stamp_ns"), "lacks ..lidar_stamp_ns"),
    ("frames/made/full_0000_frame.json", _edit("truth_stamps_ns", value=[1]), "truth_stamps_ns"),
    ("frames/made/full_0000_frame.json", _edit("odom_from_base", value=[1, 2]), "not a 4 x 4"),
    ("frames/made/full_0000_frame.json", _edit("bev", "origin"), "not a grid description"),
    ("bboxes/made/full_0000_bboxes.json", lambda p: p.write_text("[{}]"), "3-D boxes"),
    ("bev/made/full_0000_bev.png", lambda p: cv2.imwrite(str(p), np.zeros((4, 4), np.uint8)), "RGBA"),
    ("sequences/made.json", _edit("rig", "cameras", value=[{}]), "not a rig calibration"),
    ("sequences/made.json", _edit("frames"), "not a sequence description"),
]


@pytest.mark.parametrize(("name", "damage", "message"), WRONG)
def test_a_wrong_file_is_named(data, name, damage, message):
    damage(data / name)
    with pytest.raises(DatasetError, match=message) as caught:
        read_sequence(data)[0]
    assert name in str(caught.value)
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)


def test_a_missing_level_map_is_named(data):
    for path in data.glob("amodal_depth/front/made/front_full_0000_*"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"front_full_0000_amdepth_\d+\.png: cannot be read"):
        SequenceReader(data, "made")[0]
