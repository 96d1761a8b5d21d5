"""Modalities beside masks and depth: known values in the files, round trips, and what follows from other labels."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from dataset_samples import make_rig, make_sample, make_scene
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.amodal_synth_drive import (
    PARTS,
    DatasetError,
    SequenceWriter,
    read_sequence,
    read_sequences,
)
from amodal_perception_ros.datasets.derived import amodal_semantic_maps, motion_map, semantic_map, thing_segments

SHAPE = (64, 96)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("modalities")
    with SequenceWriter(root) as writer:
        for index in range(2):
            writer.write(make_sample(index))
    return root


def pixels(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_flow_has_the_public_encoding(tmp_path):
    flow = np.array([[[0.0, 0.0], [695.0, -1687.0], [-100.5, 20.25], [np.nan, 1.0], [695.5, 0.0], [0.0, -1688.0]]])
    codecs.write_flow(tmp_path / "flow.png", flow.astype(np.float32))
    stored = pixels(tmp_path / "flow.png")[..., ::-1]
    # round((v + 1687) / 2382 * 65535), by hand: 0 gives 46413.75, -100.5 gives 43648.73, 20.25 gives 46970.88.
    expected = [[46414, 46414, 1], [65535, 0, 1], [43649, 46971, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert stored.dtype == np.uint16
    assert stored[0].tolist() == expected
    # As the public loader decodes it (amodal-optical-flow, core/utils/frame_utils.py, readFlowKITTI); it leaves out
    # flow of 1000 px and more.
    decoded = stored[0, :, :2].astype(np.float32) / 65535 * (695 + 1687) - 1687
    assert np.allclose(decoded[:3], flow[0, :3], atol=2382 / 65535 / 2 + 1e-4)
    assert (np.abs(decoded[3:]) >= 1000).all()
    read = codecs.read_flow(tmp_path / "flow.png", (1, 6))
    assert np.isnan(read[0]).all(1).tolist() == [False, False, False, True, True, True]


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (5, 7, 2), elements=st.floats(-2000, 1000, width=32) | st.just(np.nan)))
def test_flow_comes_back_within_half_a_step(tmp_path_factory, flow):
    path = tmp_path_factory.mktemp("flow") / "flow.png"
    codecs.write_flow(path, flow)
    read = codecs.read_flow(path, (5, 7))
    known = (flow >= codecs.FLOW_MIN).all(2) & (flow <= codecs.FLOW_MAX).all(2)
    assert np.array_equal(np.isfinite(read).all(2), known)
    assert np.array_equal(np.isnan(read[..., 0]), np.isnan(read[..., 1]))
    assert np.abs(read[known] - flow[known]).max(initial=0) <= 2382 / 65535 / 2 + 2e-4


points_columns = st.integers(0, 40).flatmap(
    lambda n: st.tuples(
        arrays(np.float32, (n, 4), elements=st.floats(-300, 300, width=32)),
        st.none() | arrays(np.uint16, n, elements=st.sampled_from([0, 7000, 23000, 24001, 26999, 33014])),
        st.none() | arrays(np.uint8, n),
    )
)


@settings(max_examples=60, deadline=None)
@given(points_columns)
def test_points_come_back_with_their_segments_and_rings(tmp_path_factory, columns):
    points, segments, rings = columns
    path = tmp_path_factory.mktemp("lidar") / "lidar.npz"
    codecs.write_lidar(path, points, segments, rings)
    read = codecs.read_lidar(path)
    assert np.abs(read.points[:, :3] - points[:, :3]).max(initial=0) <= 1 / 64
    for got, given_ in ((read.segments, segments), (read.rings, rings)):
        assert (got is None) == (given_ is None)
        if got is not None:
            assert got.dtype == given_.dtype
            assert np.array_equal(got, given_)


def test_points_and_labels_must_agree(tmp_path):
    points = np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"3 LiDAR points but 'ring' of shape \(2,\)"):
        codecs.write_lidar(tmp_path / "a.npz", points, rings=np.zeros(2, np.uint8))
    np.savez(tmp_path / "b.npz", xyz=np.zeros((3, 3), np.int16), intensity=np.zeros(3, np.uint8), step=[1.0, 1.0],
             segment=np.zeros(2, np.uint16))  # fmt: skip
    with pytest.raises(DatasetError, match=r"b\.npz: not a LiDAR sweep of this format \(columns of different lengths"):
        codecs.read_lidar(tmp_path / "b.npz")


def test_equal_sweeps_give_equal_files(tmp_path):
    sample = make_sample(0)
    for name in ("a", "b"):
        codecs.write_lidar(tmp_path / name, sample.frame.lidar, sample.point_segments, sample.point_rings)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_modality_comes_back(data):
    for sample, want in zip(read_sequence(data), (make_sample(0), make_sample(1))):
        assert sample.moving == want.moving == {1, 3, 5}
        assert list(sample.flow) == ["front", "right"]
        for name, flow in want.flow.items():
            assert np.array_equal(np.isnan(sample.flow[name]), np.isnan(flow))
            assert np.nanmax(np.abs(sample.flow[name] - flow)) < 0.0183
        assert np.array_equal(sample.point_segments, want.point_segments)
        assert np.array_equal(sample.point_rings, want.point_rings)
        assert np.array_equal(sample.bev_labels, want.bev_labels)
        assert np.abs(sample.bev_image.astype(int) - want.bev_image).max() <= 2
        assert vars(sample.gnss) == vars(want.gnss)
        assert sample.imu.stamp_ns == want.imu.stamp_ns
        for name in ("orientation", "angular_velocity", "linear_acceleration"):
            assert np.array_equal(getattr(sample.imu, name), getattr(want.imu, name))


def test_the_depth_of_every_level_comes_back(data):
    for sample, want in zip(read_sequence(data), (make_sample(0), make_sample(1))):
        for name, scene in want.truth.cameras.items():
            levels, expected = sample.truth.cameras[name].depth_levels(), scene.depth_levels()
            assert np.isfinite(expected[1:]).any()
            assert np.array_equal(np.isnan(levels), np.isnan(expected))
            assert np.nanmax(np.abs(levels - expected)) <= 0.5 / 256


def test_hidden_objects_are_marked(data):
    entries = json.loads((data / "amodal_panoptic_seg/front/made/front_full_0000_ampano.json").read_text())
    unseen = {str(i.instance_id) for i in make_sample(0).truth.cameras["front"].instances if not i.visible_mask.area}
    assert unseen
    assert {key for key, entry in entries.items() if entry.get("fully_hidden")} == unseen


def test_derived_labels_have_the_public_form(data):
    scene = make_sample(0).truth.cameras["front"]
    assert np.array_equal(pixels(data / "semantic_seg/front/made/front_full_0000_seg.png"), scene.labels // 1000)
    folder = data / "amodal_instance_seg/front/made"
    visible = pixels(folder / "front_full_0000_aminseg.png")
    assert np.array_equal(visible, np.where(scene.labels % 1000, scene.labels, 0))
    entries = json.loads((folder / "front_full_0000_aminseg.json").read_text())
    inside = {i.instance_id: i for i in scene.instances if i.amodal_mask.clipped(*SHAPE).area}
    assert set(entries) == {str(segment) for segment in inside}
    for key, entry in entries.items():
        assert set(entry) - {"fully_hidden"} == {
            *("occluded", "occlusion_mask", "amodal_mask", "category_id", "track_id"),
        }
        amodal = coco_mask.decode(entry["amodal_mask"]).astype(bool)
        hidden = coco_mask.decode(entry["occlusion_mask"]).astype(bool) if entry["occluded"] else np.zeros(SHAPE, bool)
        assert np.array_equal(amodal & ~hidden, visible == int(key))
    # As amodal-optical-flow reads it (core/datasets.py).
    listing = data / "amodal_semantic_seg_for_flow/front/made/0000/front_full_0000_amsemseg.json"
    layers = sorted((key, value["file_name"]) for key, value in json.loads(listing.read_text())["seg"].items())
    assert len(layers) == 1 + max(i.occlusion_level for i in scene.instances)
    for (_, name), expected in zip(layers, amodal_semantic_maps(scene)):
        assert np.array_equal(pixels(listing.parent / name), expected)


def test_derived_maps_by_hand():
    """A car before a person whose left half it hides; the person's own level is 1."""
    camera = make_rig().cameras[0]
    scene = make_scene(camera, 0, np.random.default_rng(3), things=2)
    front, behind = scene.instances
    assert (front.occlusion_level, behind.occlusion_level) == (0, 1)
    maps = amodal_semantic_maps(scene)
    for instance, classes in zip((front, behind), maps, strict=True):
        assert np.array_equal(classes, np.where(instance.amodal_mask.to_array(*SHAPE), instance.class_id, 0))
    assert set(np.unique(semantic_map(scene.labels))) == {7, 23, front.class_id}
    assert set(np.unique(thing_segments(scene.labels))) == {0, front.instance_id}
    hidden = behind.amodal_mask.to_array(*SHAPE)
    assert np.array_equal(motion_map(scene, {behind.track_id}), np.where(hidden, 2, 0))
    both = motion_map(scene, {front.track_id, behind.track_id})
    assert np.array_equal(both, front.visible_mask.to_array(*SHAPE) + 2 * hidden)
    assert not motion_map(scene, set()).any()


def test_the_motion_segmentation_is_stored(data):
    sample = make_sample(1)
    for name, scene in sample.truth.cameras.items():
        stored = pixels(data / f"amodal_motion_seg/{name}/made/{name}_full_0001_ammotseg.png")
        assert np.array_equal(stored, motion_map(scene, sample.moving))
        assert stored.any()


def test_the_view_from_above_lies_under_the_camera_name_bev(data):
    sample = make_sample(0)
    assert pixels(data / "images/bev/made/bev_full_0000_rgb.jpg").shape == (20, 30, 3)
    labels = sample.bev_labels
    stored = pixels(data / "panoptic_seg/bev/made/bev_full_0000_pano.png")
    assert np.array_equal(stored, np.where(labels % 1000, labels, labels // 1000))
    assert np.array_equal(pixels(data / "semantic_seg/bev/made/bev_full_0000_seg.png"), labels // 1000)
    with pytest.raises(ValueError, match="may not be named 'bev'"), SequenceWriter(data / "x") as writer:
        writer.write(make_sample(0, rig=make_rig(names=("front", "bev"))))


def test_derived_labels_can_be_left_out(tmp_path, data):
    with SequenceWriter(tmp_path, derived=False) as writer:
        writer.write(make_sample(0))
    kinds = {path.name for path in tmp_path.iterdir()}
    derived = {"amodal_instance_seg", "amodal_semantic_seg_for_flow", "amodal_motion_seg", "semantic_seg"}
    assert {path.name for path in data.iterdir()} - kinds == derived
    assert read_sequence(tmp_path).missing == ()
    assert read_sequence(tmp_path)[0].moving == {1, 3, 5}


def test_what_a_sequence_never_held_is_missing(tmp_path):
    sample = make_sample(0)
    sample.flow, sample.moving, sample.imu, sample.gnss = {}, None, None, None
    sample.point_rings = sample.bev_labels = None
    with SequenceWriter(tmp_path) as writer:
        writer.write(sample)
    reader = read_sequence(tmp_path)
    assert reader.missing == ("point_rings", "bev_labels", "flow", "motion", "imu", "gnss")
    got = reader[0]
    assert (got.flow, got.moving, got.imu, got.gnss, got.point_rings, got.bev_labels) == ({}, *[None] * 5)
    assert not (tmp_path / "flow").exists()
    assert not (tmp_path / "amodal_motion_seg").exists()


def test_unknown_boxes_and_depth_are_not_held(tmp_path):
    """A frame of which boxes and depth are unknown has an empty list and NaN there."""
    with SequenceWriter(tmp_path) as writer:
        for index in range(2):
            sample = make_sample(index)
            sample.objects = []
            for scene in sample.truth.cameras.values():
                scene.depth[:] = np.nan
                for instance in scene.instances:
                    instance.depth[:] = np.nan
            writer.write(sample)
    reader = read_sequence(tmp_path)
    assert reader.missing == ("depth", "boxes")
    with pytest.raises(DatasetError, match="has no depth, boxes"):
        reader.require("depth", "boxes")
    reader.check()
    scene = reader[1].truth.cameras["front"]
    assert np.isnan(scene.depth).all()
    assert all(np.isnan(instance.depth).all() for instance in scene.instances)


def test_what_any_frame_holds_is_held(tmp_path):
    with SequenceWriter(tmp_path) as writer:
        sample = make_sample(0)
        sample.objects = []
        writer.write(sample)
        writer.write(make_sample(1))
    reader = read_sequence(tmp_path)
    assert reader.missing == ()
    assert [len(sample.objects) for sample in reader] == [0, 1]


def test_the_stamp_of_the_odometry_comes_back(tmp_path):
    with SequenceWriter(tmp_path) as writer:
        for index in range(2):
            sample = make_sample(index)
            writer.write(replace(sample, frame=replace(sample.frame, odom_stamp_ns=123 if index else None)))
    assert [sample.frame.odom_stamp_ns for sample in read_sequence(tmp_path)] == [None, 123]


def of_imu(sample, **fields):
    return replace(sample, imu=replace(sample.imu, **fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, gnss=replace(s.gnss, latitude=np.nan)), r"frame\.json: .* gnss\.latitude = nan"),
        (lambda s: of_imu(s, angular_velocity=np.array([0, np.nan, 0])), r"frame\.json: .* imu\.angular_velocity\[1\]"),
        (lambda s: replace(s, frame=replace(s.frame, odom_from_base=np.full((4, 4), np.inf))), r"odom_from_base\[0\]"),
        (lambda s: replace(s, frame=replace(s.frame, missing=(b"lidar",))), r"frame\.json: .* missing\[0\] = b'lidar'"),
        (lambda s: replace(s, objects=[replace(s.objects[0], yaw=np.inf)]), r"bboxes\.json: .* \[0\]\.yaw = inf"),
        (lambda s: replace(s, point_rings=s.point_rings.astype(int) + 250), r"lidar\.npz: the rings .* got 250\.\.281"),
        (lambda s: replace(s, point_rings=s.point_rings.astype(int) - 1), r"lidar\.npz: the rings .* got -1\.\.30"),
    ],
)
def test_values_that_the_format_cannot_hold_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message), SequenceWriter(tmp_path) as writer:
        writer.write(change(make_sample(0)))
    assert list(tmp_path.iterdir()) == []


def test_numpy_numbers_are_numbers(tmp_path):
    sample, stamp = make_sample(0), np.int64(5)
    sample = replace(
        sample,
        frame=replace(sample.frame, stamp_ns=stamp, lidar_stamp_ns=stamp, image_stamps_ns={"front": stamp}),
        moving=frozenset({np.int64(3)}),
        gnss=replace(sample.gnss, stamp_ns=np.uint64(5), altitude=np.float32(0.5)),
        imu=replace(sample.imu, stamp_ns=stamp),
        objects=[replace(sample.objects[0], track_id=np.uint16(7), last_seen_ns=stamp)],
    )
    with SequenceWriter(tmp_path, info={"seed": np.int64(1)}) as writer:
        writer.write(sample)
    got = read_sequence(tmp_path)[0]
    assert (got.frame.stamp_ns, got.frame.lidar_stamp_ns, got.imu.stamp_ns, got.gnss.stamp_ns) == (5, 5, 5, 5)
    assert got.frame.image_stamps_ns == {"front": 5, "right": 5}
    assert (got.moving, got.gnss.altitude) == ({3}, 0.5)
    assert (got.objects[0].track_id, got.objects[0].last_seen_ns) == (7, 5)


def test_a_rig_of_fewer_cameras_reads_those(data, tmp_path):
    data = shutil.copytree(data, tmp_path / "data")
    for remove_ours in (False, True):
        if remove_ours:
            for kind in ("sequences", "frames", "depth", "amodal_depth", "lidar", "bboxes", "bev", "panoptic_seg"):
                shutil.rmtree(data / kind)
        reader = read_sequence(data, make_rig(names=("front",)))
        reader.check()
        sample = reader[0]
        for part in (sample.frame.images, sample.frame.image_stamps_ns, sample.truth.cameras, sample.flow):
            assert list(part) == ["front"]
        with pytest.raises(DatasetError, match="frame 0 of sequence 'made' has no truth of camera 'right'"):
            reader.scene(0, "right")


@pytest.mark.parametrize("part", PARTS)
def test_only_the_files_of_the_asked_parts_are_read(tmp_path, part):
    """With the files of all other parts gone, the part is still read."""
    with SequenceWriter(tmp_path) as writer:
        writer.write(make_sample(0))
    files = {
        "images": ("images/front", "images/right"),
        "truth": ("amodal_panoptic_seg", "depth", "amodal_depth"),
        "lidar": ("lidar",),
        "boxes": ("bboxes",),
        "bev": ("bev",),
        "bev_image": ("images/bev", "panoptic_seg"),
        "flow": ("flow",),
    }
    for other, folders in files.items():
        for folder in folders if other != part else ():
            for path in (tmp_path / folder).rglob("*.*"):
                path.unlink()
    sample = read_sequence(tmp_path, parts=(part,))[0]
    held = {
        "images": sample.frame.images,
        "truth": sample.truth.cameras,
        "lidar": sample.frame.lidar is not None,
        "boxes": sample.objects,
        "bev": sample.bev is not None,
        "bev_image": sample.bev_image is not None,
        "flow": sample.flow,
    }
    assert {name for name, there in held.items() if there} == {part}
    assert sample.imu is not None
    with pytest.raises(ValueError, match="unknown parts"):
        read_sequences(tmp_path, parts=("sound",))
