"""Folders of amodal panoptic labels: KITTI-360-APS, BDD100K-APS, own classes, and predictions for them."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from panoptic_files import PIXELS, changed, write, write_png

from amodal_perception_ros.datasets.amodal_panoptic import (
    BDD100K_APS,
    KITTI_360_APS,
    find_images,
    read_drives,
    read_images,
)
from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.datasets.formats import open_predictions, open_sequences


@pytest.fixture
def kitti(tmp_path):
    for name in ("train/drive_0000_sync/0000000250", "train/drive_0000_sync/0000000251", "train/drive_0002_sync/7"):
        write(tmp_path / "kitti", name)
    return tmp_path / "kitti"


def test_drives_are_sequences_in_the_order_of_their_frames(kitti):
    sequences = open_sequences(kitti, "kitti-360-aps")
    assert [(s.name, len(s)) for s in sequences] == [("train/drive_0000_sync", 2), ("train/drive_0002_sync", 1)]
    first = sequences[0]
    assert first.classes is KITTI_360_APS
    assert (len(first.classes), first.classes.stuff_count) == (17, 10)
    assert {"calibration", "stamps", "depth", "levels", "images"} <= set(first.missing)
    assert "segments" not in first.missing
    sample = first[1]
    assert (sample.sequence, sample.index, sample.frame.images) == ("train/drive_0000_sync", 1, {})
    scene = sample.truth.cameras["image"]
    assert (scene.camera.width, scene.camera.height, scene.camera.is_calibrated) == (6, 4, False)
    assert [i.instance_id for i in scene.instances] == [26001, 24001]
    assert scene.classes is KITTI_360_APS
    with pytest.raises(IndexError):
        first[2]


def test_flat_names_are_drives_too(tmp_path):
    for name in ("drive_0000_sync_0250", "drive_0000_sync_0251", "drive_0003_sync_0001"):
        write(tmp_path, name)
    sequences = read_drives(tmp_path, None, ("truth",), KITTI_360_APS)
    assert [(s.name, len(s)) for s in sequences] == [("drive_0000_sync", 2), ("drive_0003_sync", 1)]


def test_single_images_have_their_own_sequences_and_pictures(tmp_path):
    root, pictures = tmp_path / "labels", tmp_path / "pictures"
    for name in ("val/b", "val/a", "train/a"):
        write(root, name)
        write_png(pictures / f"{name}.png", np.full((4, 6, 3), 40), np.uint8)
    sequences = open_sequences(root, "bdd100k-aps", images=pictures)
    assert [s.name for s in sequences] == ["train/a", "val/a", "val/b"]
    assert sequences[0].classes is BDD100K_APS
    assert (len(BDD100K_APS), BDD100K_APS.stuff_count) == (16, 10)
    assert "images" not in sequences[0].missing
    assert sequences[0][0].frame.images["image"].shape == (4, 6, 3)
    (pictures / "val/a.png").unlink()
    with pytest.raises(DatasetError, match=r"pictures/val/a: no such picture, with any of \.png, \.jpg"):
        open_sequences(root, "bdd100k-aps", images=pictures)


def test_a_picture_of_another_size_is_named(tmp_path):
    write(tmp_path, "a")
    write_png(tmp_path / "a.png", np.zeros((4, 7, 3)), np.uint8)
    sequence = read_images(tmp_path, None, ("images",), BDD100K_APS)[0]
    with pytest.raises(DatasetError, match=r"a\.png: 7 x 4 pixels, but its labels have 6 x 4"):
        sequence[0]


def test_own_classes_win(tmp_path):
    write(tmp_path, "a")
    own = {"name": "Toy", "stuff": {"23": "air"}, "things": {"26": "tram", "24": "dog"}}
    (tmp_path / "classes.json").write_text(json.dumps(own))
    for format_ in (None, "kitti-360-aps", "bdd100k-aps", "amodal-panoptic"):
        sequence = open_sequences(tmp_path, format_)[0]
        assert [label.name for label in sequence.classes.labels] == ["air", "tram", "dog"]
        assert (sequence[0].truth.cameras["image"].labels[3, :3] == 0).all()
        assert sequence.repairs == {"pixels of class 7, which Toy lacks, read as unlabelled": 7}


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"name": "Toy", "stuff": {}},
        {"name": "Toy", "stuff": {"sky": "23"}, "things": {}},
        {"name": "Toy", "stuff": {"26": "sky"}, "things": {"26": "car"}},
        {"name": "Toy", "stuff": {"23": "sky"}, "things": {"65": "car"}},
        {"name": "Toy", "stuff": {"23": "car"}, "things": {"26": "car"}},
        {"name": "Toy", "stuff": {"23": "sky"}, "things": {"26": "\ud800"}},
    ],
)
def test_a_wrong_class_file_is_named(tmp_path, content):
    write(tmp_path, "a")
    (tmp_path / "classes.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"classes\.json: "):
        open_sequences(tmp_path)


def test_labels_of_unknown_classes_ask_for_a_format(kitti):
    with pytest.raises(DatasetError, match="unknown classes; name the format"):
        open_sequences(kitti)
    with pytest.raises(DatasetError, match=r"classes\.json: no such file"):
        open_sequences(kitti, "amodal-panoptic")


def test_a_folder_that_may_not_be_read_is_named(kitti, monkeypatch):
    scandir, closed = os.scandir, str(kitti / "train/drive_0002_sync")

    def refuse(path):
        if str(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", closed)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"drive_0002_sync: cannot be read \(Permission denied\)"):
        open_sequences(kitti, "kitti-360-aps")


def test_levels_come_from_their_file(tmp_path):
    write(tmp_path, "a")
    (tmp_path / "a_rel.json").write_text('{"0": [24001], "1": [0], "2": [26001], "3": []}')
    sequence = read_images(tmp_path, None, ("truth",), BDD100K_APS)[0]
    assert "levels" not in sequence.missing
    assert [i.occlusion_level for i in sequence[0].truth.cameras["image"].instances] == [2, 0]


def test_a_damaged_drive_is_named_and_left_out(kitti, capsys):
    (kitti / "train/drive_0000_sync/0000000251_ampano.json").unlink()
    assert [s.name for s in open_sequences(kitti, "kitti-360-aps")] == ["train/drive_0002_sync"]
    assert "skipped 1 of 2 sequences: train/drive_0000_sync: " in capsys.readouterr().err
    (kitti / "train/drive_0002_sync/7_ampano.png").unlink()
    with pytest.raises(DatasetError, match="none of 2 sequences can be read"):
        open_sequences(kitti, "kitti-360-aps")


def test_predictions_lie_as_the_truth_does(kitti, tmp_path):
    truth = open_sequences(kitti, "kitti-360-aps")
    for image in ("train/drive_0000_sync/0000000250", "train/drive_0002_sync/7", "train/other/1"):
        write(tmp_path / "p", image, entries=changed(_26001={"score": 0.5}))
    reader = open_predictions(tmp_path / "p", truth)
    assert reader.unknown.places == {"unknown_frame": ["train/other/1"]}
    scene = reader.read(truth[0][0]).cameras["image"]
    assert [(i.instance_id, i.score) for i in scene.instances] == [(26001, 0.5), (24001, 1.0)]
    assert scene.classes is KITTI_360_APS
    with pytest.raises(DatasetError, match=r"drive_0000_sync/0000000251_ampano\.png: cannot be read"):
        reader.read(truth[0][1])
    write(tmp_path / "p", "train/drive_0002_sync/7", pixels=np.array(PIXELS).T)
    with pytest.raises(DatasetError, match=r"drive_0002_sync/7_ampano\.png: expected a 16-bit grey PNG of \(4, 6\)"):
        reader.read(truth[1][0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty: holds no \*_ampano\.png"):
        open_predictions(tmp_path / "empty", truth)


def test_levels_of_unknown_segments_are_counted(tmp_path):
    write(tmp_path, "a")
    (tmp_path / "a_rel.json").write_text('{"0": [24001, 99999], "1": [0], "2": [26001], "3": []}')
    sequence = read_images(tmp_path, None, ("truth",), BDD100K_APS)[0]
    assert [i.occlusion_level for i in sequence[0].truth.cameras["image"].instances] == [2, 0]
    cause = "levels of segments that the JSON lacks, ignored"
    assert sequence.repairs.places == {cause: [f"{tmp_path / 'a_rel.json'}: segment 99999"]}


def test_linked_folders_are_read_but_not_in_a_circle(tmp_path):
    write(tmp_path / "data", "d0/0")
    write(tmp_path / "elsewhere", "0")
    (tmp_path / "data/d1").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/d0/here").symlink_to(tmp_path / "data/d0")
    assert find_images(tmp_path / "data") == ["d0/0", "d1/0"]


def test_drives_have_their_own_names_and_the_order_of_their_numbers(tmp_path, monkeypatch):
    for name in ("a/0001", "a0001", "a-0001", "a_0001", "b/1", "b/2", "b/10", "3"):
        write(tmp_path / "set", name)
    monkeypatch.chdir(tmp_path / "set")
    sequences = read_drives(Path("."), None, ("truth",), KITTI_360_APS)
    assert {s.name: s.images for s in sequences} == {
        "set": ["3"],
        "a/": ["a/0001"],
        "a": ["a0001"],
        "a-": ["a-0001"],
        "a_": ["a_0001"],
        "b": ["b/1", "b/2", "b/10"],
    }


def test_predictions_for_a_damaged_drive_are_not_unknown(kitti, tmp_path):
    for image in ("train/drive_0000_sync/0000000250", "train/drive_0002_sync/7", "train/drive_0002_sync/8"):
        write(tmp_path / "p", image)
    damaged = kitti / "train/drive_0000_sync/0000000250_ampano.json"
    damaged.write_text(damaged.read_text()[:-9])
    truth = open_sequences(kitti, "kitti-360-aps")
    assert truth[0].repairs == {"sequences that cannot be read, left out": 1, "frames of such sequences": 2}
    assert open_predictions(tmp_path / "p", truth).unknown.places == {
        "skipped_frame": ["train/drive_0000_sync/0000000250"],
        "unknown_frame": ["train/drive_0002_sync/8"],
    }
