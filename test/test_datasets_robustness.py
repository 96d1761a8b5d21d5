"""A full disk, interruptions while a sequence moves into place, and damaged sequences among good ones."""

import json
import multiprocessing
import os
import re
import resource
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from dataset_samples import make_rig, make_sample

from amodal_perception_ros.datasets.amodal_synth_drive import (
    DatasetError,
    SequenceReader,
    SequenceWriter,
    read_sequence,
    read_sequences,
    readable_sequences,
)
from amodal_perception_ros.datasets.bag import BagError, write_bag
from amodal_perception_ros.datasets.files import replace_json
from amodal_perception_ros.datasets.statistics import dataset_statistics
from amodal_perception_ros.evaluation.run import evaluate
from amodal_perception_ros.evaluation.sources import DataSet, StoredPredictions
from amodal_perception_ros.training.dataset import split_sequences

NAMES = ("a", "b", "c")


def write(root, sequence, frames=2):
    with SequenceWriter(root) as writer:
        for index in range(frames):
            writer.write(make_sample(index, sequence=sequence))


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    for name in NAMES:
        write(root, name)
    return root


@pytest.fixture
def data(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "data")


@contextmanager
def no_file_larger_than(size):
    """Let writing beyond a size [bytes] fail, as on a full disk; Python ignores the signal that goes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Images take 3 to 5 kB here, label files less: the limits stop the writer at different files.
@pytest.mark.parametrize("limit", [0, 200, 1500, 2500])
def test_a_file_that_cannot_grow_leaves_nothing_and_is_named(data, limit):
    before = content(data)
    with pytest.raises(DatasetError) as caught, no_file_larger_than(limit):
        write(data, "new")
    assert re.search(r"/\.partial/new/.*full_0000.*: cannot be written \(.+; \d+ MB free on that", str(caught.value))
    assert content(data) == before
    assert not (data / ".partial").exists()
    write(data, "new")
    assert [reader.name for reader in read_sequences(data)] == ["a", "b", "c", "new"]


def mounted(folder, size):
    """Return whether a small file system of its own could be mounted there (needs privileges)."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    return done.returncode == 0


def fill(folder):
    for number in range(100):
        write(folder, f"s{number:03d}")


def test_a_full_disk_is_named_and_the_sequences_before_stay(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not mounted(folder, "1200k"):
        pytest.skip("no privilege to mount a small file system")
    try:
        with pytest.raises(DatasetError, match=r"cannot be written \(No space left on device; 0 MB free on that disk"):
            fill(folder)
        readers = read_sequences(folder)
        assert len(readers) >= 2
        for reader in readers:
            reader.check()
        kept = {path.name for path in (folder / "images/front").iterdir()}
        assert kept == {reader.name for reader in readers}
        assert not (folder / ".partial").exists()
        with pytest.raises(BagError, match=r"drive\.mcap: cannot be written \(No space left on device"):
            write_bag([make_sample(index) for index in range(200)], folder / "drive.mcap")
        assert not list(folder.glob("*.mcap"))
        assert not list(folder.glob(".bag*"))
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_manifest_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "manifest.json"
    replace_json(path, {"old": 1})
    with pytest.raises(DatasetError, match=r"\.manifest\.json\.part: cannot be written"), no_file_larger_than(500):
        replace_json(path, {"new": "x" * 1000})
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


def test_what_fails_while_a_sequence_moves_into_place_leaves_nothing_of_it(data):
    before = content(data)
    shutil.rmtree(data / "lidar")
    (data / "lidar").write_text("a file where a folder should be")
    with pytest.raises(DatasetError, match="cannot be written"):
        write(data, "new")
    after = content(data)
    assert {name for name in after if "new" in name} == set()
    assert {name: after[name] for name in after if name != "lidar"} == {
        name: kept for name, kept in before.items() if not name.startswith("lidar/")
    }


def test_a_killed_move_leaves_no_sequence(tmp_path):
    """Folders in place without the description do not count, not even as a data set in the public layout."""
    write(tmp_path, "a")
    (tmp_path / "sequences/a.json").unlink()
    with pytest.raises(DatasetError, match="holds no finished sequence"):
        read_sequences(tmp_path)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


REMOVED = object()


def change(path, key, value=REMOVED):
    description = json.loads(path.read_text())
    del description[key]
    path.write_text(json.dumps(description if value is REMOVED else description | {key: value}))


DAMAGES = [
    ("sequences/b.json", truncate),
    ("sequences/b.json", lambda path: path.write_text("[1]")),
    ("sequences/b.json", lambda path: path.write_bytes(b"\xff\xfe")),
    ("sequences/b.json", lambda path: path.write_text('{"frames": 2, "rig": {}, "pieces": 3}')),
    ("sequences/b.json", lambda path: change(path, "pieces")),
    ("sequences/b.json", lambda path: change(path, "info")),
    ("sequences/b.json", lambda path: change(path, "info", [])),
    ("sequences/b.json", lambda path: change(path, "pieces", "depth")),
    ("images/front/b/front_full_0001_rgb.jpg", lambda path: path.unlink()),
    ("images/front/b/front_full_0001_rgb.jpg", truncate),
    ("images/bev/b/bev_full_0001_rgb.jpg", truncate),
    ("amodal_panoptic_seg/right/b/right_full_0000_ampano.png", truncate),
    ("amodal_panoptic_seg/right/b/right_full_0000_ampano.json", truncate),
    ("amodal_panoptic_seg/right/b/right_full_0000_ampano.json", lambda path: path.write_text("[]")),
    ("amodal_panoptic_seg/right/b/right_full_0000_ampano.json", lambda path: path.write_text('{"26001": 5}')),
    ("amodal_panoptic_seg/right/b/right_full_0000_ampano.json", lambda path: path.write_text('{"car": {}}')),
    ("amodal_panoptic_seg/right/b/right_full_0000_rel.json", lambda path: path.unlink()),
    ("amodal_panoptic_seg/right/b/right_full_0000_rel.json", lambda path: path.write_text("[]")),
    ("depth/front/b/front_full_0000_depth.png", lambda path: path.write_bytes(b"")),
    ("amodal_depth/front/b/front_full_0000_amdepth_1.png", lambda path: path.unlink()),
    ("flow/right/b/right_full_0001_flow.png", truncate),
    ("panoptic_seg/bev/b/bev_full_0000_pano.png", lambda path: path.unlink()),
    ("lidar/b/full_0001_lidar.npz", truncate),
    ("frames/b/full_0001_frame.json", lambda path: path.write_text("{}")),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "stamp_ns", None)),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "lidar_stamp_ns", "now")),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "image_stamps_ns", {"front": None})),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "truth_stamps_ns", {"moon": 1})),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "flow", ["front", "moon"])),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "flow", [1])),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "odom_from_base", [["a"] * 4] * 4)),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "missing", "lidar")),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "model_id", None)),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "bev", 3)),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "lidar", "yes")),
    ("frames/b/full_0001_frame.json", lambda path: change(path, "gnss")),
    ("bboxes/b/full_0001_bboxes.json", truncate),
    ("bev/b/full_0001_bev.png", lambda path: path.unlink()),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_sequence_is_named_and_skipped(data, name, damage, capsys):
    damage(data / name)
    assert [reader.name for reader in readable_sequences([data])] == ["a", "c"]
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"skipped 1 of 3 sequences: b: ", line)
    assert str(data / name) in line
    with pytest.raises(DatasetError, match=re.escape(str(data / name))):
        list(read_sequence(data / "b"))


def test_damage_in_parts_that_are_not_read_does_not_matter(data, capsys):
    truncate(data / "flow/right/b/right_full_0001_flow.png")
    assert len(readable_sequences([data], parts=("images", "truth"))) == 3
    assert capsys.readouterr().err == ""


def test_whole_sequences_pass_the_check(whole, capsys):
    assert len(readable_sequences([whole])) == 3
    assert capsys.readouterr().err == ""


def test_every_damaged_sequence_is_counted_and_none_left_is_an_error(data, capsys):
    for name in NAMES:
        truncate(data / f"sequences/{name}.json")
    with pytest.raises(DatasetError, match=r"none of 3 sequences can be read; the last one is c: .*c\.json: not valid"):
        readable_sequences([data])
    lines = capsys.readouterr().err.splitlines()
    assert [line[:27] for line in lines] == [f"skipped {n} of 3 sequences: {name}" for n, name in enumerate(NAMES, 1)]


@pytest.mark.parametrize(
    ("key", "value"),
    [("imu", {"stamp_ns": 1}), ("gnss", {"latitude": "north"}), ("moving", 3), ("moving", ["x"]), ("flow", 1)],
)
def test_a_wrong_reading_is_named(data, key, value):
    path = data / "frames/a/full_0000_frame.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DatasetError, match=rf"full_0000_frame\.json: '{key}' is not a"):
        read_sequence(data / "a")[0]


def test_training_evaluation_and_statistics_skip_what_is_damaged(data, capsys):
    for path in data.glob("frames/*/*.json"):  # The made grids are none that the mapper could have made.
        path.write_text(json.dumps(json.loads(path.read_text()) | {"bev": None}))
    truncate(data / "depth/front/b/front_full_0001_depth.png")
    line = f"skipped 1 of 3 sequences: b: {data}/depth/front/b/front_full_0001_depth.png: truncated"
    split = split_sequences([data], [], 1)
    assert ([r.name for r in split.train], [r.name for r in split.validation]) == (["a"], ["c"])
    assert line in capsys.readouterr().err
    results = evaluate(DataSet((data,)), {"ours": StoredPredictions(data)}, workers=1).runs
    assert results["ours"]["frames"] == 4
    assert line in capsys.readouterr().err
    assert dataset_statistics(data).sequences == 2
    assert line in capsys.readouterr().err


def test_public_data_are_checked_too(data):
    for kind in ("sequences", "frames", "depth", "amodal_depth", "lidar", "bboxes", "bev", "flow", "panoptic_seg"):
        shutil.rmtree(data / kind)
    truncate(data / "amodal_panoptic_seg/front/c/front_full_0000_ampano.json")
    assert [reader.name for reader in readable_sequences([data], make_rig())] == ["a", "b"]
    with pytest.raises(DatasetError, match=r"front_full_0000_ampano\.json: not valid JSON"):
        SequenceReader(data, "c", make_rig()).check()


def test_two_writers_of_a_sequence_never_mix(tmp_path):
    with SequenceWriter(tmp_path) as first:
        first.write(make_sample(0))
        with pytest.raises(DatasetError, match=r"\.partial/made: somebody else is writing this sequence"):
            SequenceWriter(tmp_path).write(make_sample(0, seed=1))
        with SequenceWriter(tmp_path) as other:
            other.write(make_sample(0, sequence="other"))
        first.write(make_sample(1))
    read_sequence(tmp_path / "made").check()
    assert [len(reader) for reader in read_sequences(tmp_path)] == [2, 1]
    assert not (tmp_path / ".partial").exists()


def write_when_free(root, barrier):
    """Write a frame as soon as no other process is at the sequence; the exit status says whether it was written."""
    barrier.wait()
    while True:
        try:
            write(root, "a", frames=1)
            os._exit(0)
        except DatasetError as error:
            if "exists already" in str(error):
                os._exit(1)


def test_of_many_processes_one_writes_a_sequence(tmp_path):
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(6)
    processes = [fork.Process(target=write_when_free, args=(tmp_path, barrier)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(process.exitcode for process in processes) == [0, 1, 1, 1, 1, 1]
    read_sequence(tmp_path).check()
    assert not (tmp_path / ".partial").exists()


@contextmanager
def without_privileges():
    """Let the file system's permissions count for root, too."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(("folder", "named"), [("sequences", "sequences"), ("images", "images"), (".", "images")])
@pytest.mark.parametrize("mode", [0o000, 0o644])
def test_a_folder_that_may_not_be_read_is_named(data, monkeypatch, folder, named, mode):
    monkeypatch.chdir(data)
    data.chmod(0o755)
    Path(folder).chmod(mode)
    shutil.rmtree("sequences") if folder == "images" else None
    try:
        with (
            without_privileges(),
            pytest.raises(DatasetError, match=rf"^{named}.*: cannot be read \(Permission denied"),
        ):
            read_sequences(".", make_rig())
    finally:
        Path(folder).chmod(0o755)


def test_paths_that_the_system_refuses_are_named(data):
    with pytest.raises(DatasetError, match=r"nnn.*: cannot be read \(File name too long\)"):
        read_sequences("n" * 300)
    with pytest.raises(DatasetError, match=r"a\.json/made: does not exist"):
        read_sequences(data / "sequences/a.json/made")
    shutil.rmtree(data / "sequences")
    (data / "sequences").symlink_to(data / "sequences")
    with pytest.raises(DatasetError, match=r"/sequences: cannot be read \(Too many levels of symbolic links\)"):
        read_sequences(data)


def test_a_folder_that_cannot_be_made_in_a_later_frame_is_named(tmp_path):
    writer = SequenceWriter(tmp_path)
    writer.write(make_sample(0))
    (tmp_path / ".partial/made/amodal_semantic_seg_for_flow/front/made/0001").write_text("a file")
    with pytest.raises(DatasetError, match=r"/front/made/0001: cannot be written"), writer:
        writer.write(make_sample(1))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_for_another_folder_is_named(tmp_path):
    """Every number of files that is too small for a sequence stops the writer at another file or folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not mounted(folder, "50m"):
        pytest.skip("no privilege to mount a small file system")
    try:
        for inodes in range(2, 120, 7):
            subprocess.run(["mount", "-o", f"remount,nr_inodes={inodes}", str(folder)], check=True)
            with pytest.raises(DatasetError, match=r"cannot be written \(No space left on device"):
                write(folder, "a")
            assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)
