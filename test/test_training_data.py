"""From samples to batches: exact targets, mirror consistency, LiDAR, cache, order of images, splits."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from training_toy import draw_scene, toy_camera, toy_sample

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceWriter
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import CANONICAL_FOCAL
from amodal_perception_ros.network.config import OUTPUT_STRIDE
from amodal_perception_ros.scene import Camera, Rig, Sample, SurroundFrame, SurroundScene
from amodal_perception_ros.training.augment import Augmentation, _noise, augment, drop_lidar, mirror, photometric, zoom
from amodal_perception_ros.training.dataset import BatchSource, collate, prepare_cache, sample_cells, split_sequences
from amodal_perception_ros.training.records import ImageRecord, make_records

SIZE = (128, 96)
CAR, PERSON = 2, 0
NEAR_CAR = (CAR, 5.0, 16, 32, 48, 64)
FAR_PERSON = (PERSON, 9.0, 40, 24, 56, 64)


def one_camera_sample(rectangles, camera=None, lidar=None):
    camera = camera or toy_camera()
    image, scene = draw_scene(camera, rectangles)
    frame = SurroundFrame(0, Rig((camera,)), {camera.name: image}, lidar=lidar)
    return Sample("toy", 0, frame, SurroundScene(0, {camera.name: scene}))


def record_of(rectangles, camera=None, lidar=None, size=SIZE):
    return make_records(one_camera_sample(rectangles, camera, lidar), size)["front"]


def write_sequences(root, names, frames=2, split=None):
    for number, name in enumerate(names):
        with SequenceWriter(root, split) as writer:
            for index in range(frames):
                writer.write(toy_sample(number, sequence=name, index=index))
    return root


def test_targets_of_two_rectangles():
    record = record_of([NEAR_CAR, FAR_PERSON])
    assert record.classes.tolist() == [CAR, PERSON]
    assert record.levels.tolist() == [0, 1]
    assert record.occludes.tolist() == [[False, True], [False, False]]
    np.testing.assert_allclose(record.boxes[0], [32 / 128, 48 / 96, 32 / 128, 32 / 96], rtol=1e-6)
    np.testing.assert_allclose(record.boxes[1], [48 / 128, 44 / 96, 16 / 128, 40 / 96], rtol=1e-6)
    assert (record.visible[0] == record.amodal[0]).all()
    assert (record.amodal[1] > 0).sum() == 8 * 20
    assert (record.visible[1] > 0).sum() == 8 * 20 - 4 * 16
    canonical = np.log(np.array([5.0, 9.0]) * CANONICAL_FOCAL / 64)
    for number in range(2):
        inside = record.amodal[number] > 0
        np.testing.assert_allclose(record.object_log_depth[number][inside], canonical[number], atol=2e-3)
        assert np.isnan(record.object_log_depth[number][~inside]).all()
    everything = record.stuff.astype(int).sum(0) + record.visible.astype(int).sum(0)
    assert (everything == 255).all()
    assert np.isnan(record.log_depth[0, 0]), "the sky has no depth"


def test_coverage_is_the_share_of_a_cell():
    record = record_of([(CAR, 5.0, 17, 32, 47, 63)])
    assert record.amodal[0, 16:32, 8:24].min() > 0
    assert record.amodal[0].astype(bool).sum() == 16 * 16
    assert record.amodal[0, 20, 12] == 255
    assert record.amodal[0, 20, 8] == record.amodal[0, 20, 23] == record.amodal[0, 31, 12] == round(255 / 2)
    assert record.amodal[0, 31, 8] == round(255 / 4)


def test_small_objects_are_ignored_and_hidden_ones_are_no_targets():
    tiny, hidden = (PERSON, 30.0, 100, 40, 102, 44), (PERSON, 20.0, 20, 36, 30, 60)
    record = record_of([NEAR_CAR, tiny, hidden])
    assert record.classes.tolist() == [CAR]
    assert np.argwhere(record.ignored).tolist() == [[20, 50], [21, 50]]
    batch = collate([record], 4, np.random.default_rng(0), 0.0)
    assert batch.targets.heat_weight.sum() == 24 * 32 - 1
    assert batch.targets.heat_weight[0, 10, 25] == 0


@pytest.mark.parametrize(("stride", "number"), [(4, 0), (8, 1)])
def test_seeds_lie_on_the_visible_part(stride, number):
    for seed in range(5):
        for record in make_records(toy_sample(seed, count=8), SIZE).values():
            batch = collate([record], stride, np.random.default_rng(0), 1.0)
            ratio = stride // OUTPUT_STRIDE
            for visible, (row, column) in zip(record.visible, record.seeds[:, number]):
                assert visible[row * ratio : (row + 1) * ratio, column * ratio : (column + 1) * ratio].any()
                assert batch.targets.heat[0, row, column] == 1
                assert batch.targets.forced[0, 0, row, column] == 1
            assert int((batch.targets.heat == 1).sum()) == len({tuple(seed) for seed in record.seeds[:, number]})
            visible = batch.targets.visible.unflatten(2, record.log_depth.shape)
            covered = torch.nn.functional.max_pool2d(visible, ratio).amax(1) > 0
            assert not (batch.targets.heat > 0)[~covered].any()


def test_the_seed_is_the_middle_of_a_large_visible_part():
    record = record_of([(CAR, 5.0, 20, 20, 76, 76)])
    assert record.seeds[0, 0].tolist() == [11, 11]


def test_a_scaled_camera_has_scaled_pixels_and_the_same_canonical_depth():
    small = record_of([NEAR_CAR])
    big_camera = toy_camera(width=256, height=192, focal=128.0)
    big = record_of([(CAR, 5.0, 32, 64, 96, 128)], big_camera)
    np.testing.assert_array_equal(small.amodal, big.amodal)
    np.testing.assert_allclose(small.object_log_depth, big.object_log_depth)
    np.testing.assert_allclose(small.boxes, big.boxes)
    longer = Camera(
        "front", 128, 96, np.diag([128.0, 128.0, 1.0]) + toy_camera().intrinsics * (1 - np.eye(3)), np.eye(4)
    )
    difference = small.object_log_depth - record_of([NEAR_CAR], longer).object_log_depth
    np.testing.assert_allclose(difference[np.isfinite(difference)], np.log(2), atol=2e-3)


def test_padding_has_no_targets_and_stays_black_when_augmented():
    record = record_of([(CAR, 5.0, 32, 32, 96, 64)], toy_camera(width=256, height=96))
    assert record.content.tolist() == [128, 48]
    assert not record.image[48:].any()
    assert not record.stuff[:, 24:].any()
    assert record.stuff[:, :24].any()
    assert np.isnan(record.log_depth[24:]).all()
    changed = augment(record, np.random.default_rng(0), Augmentation(zoom_probability=0))
    assert not changed.image[48:].any()
    assert changed.image[:48].any()


def off_centre_camera(cx):
    return Camera("front", 128, 96, np.array([[64.0, 0, cx], [0, 64, 48], [0, 0, 1]]), toy_camera().base_from_camera)


def test_mirror_equals_the_record_of_the_mirrored_world():
    rectangles = [NEAR_CAR, FAR_PERSON, (6, 12.0, 70, 20, 111, 61)]
    mirrored = [(kind, z, 128 - right, top, 128 - left, bottom) for kind, z, left, top, right, bottom in rectangles]
    rng = np.random.default_rng(0)
    lidar = np.concatenate([rng.uniform([3, -6, -2], [20, 6, 2], (300, 3)), np.ones((300, 1))], 1).astype(np.float32)
    straight = record_of(rectangles, off_centre_camera(60.0), lidar)
    other = record_of(mirrored, off_centre_camera(68.0), lidar * np.array([1, -1, 1, 1], np.float32))
    flipped = mirror(straight)
    for name in (
        "image",
        "stuff",
        "log_depth",
        "ignored",
        "visible",
        "amodal",
        "object_log_depth",
        "occludes",
        "levels",
    ):
        np.testing.assert_array_equal(getattr(flipped, name), getattr(other, name), err_msg=name)
    np.testing.assert_allclose(flipped.boxes, other.boxes, atol=1e-6)
    guidance = [collate([record], 4, rng, 0).guidance for record in (flipped, other)]
    assert guidance[0][0, 1].sum() > 100
    torch.testing.assert_close(guidance[0], guidance[1])


def test_mirror_twice_changes_nothing():
    record = make_records(toy_sample(3), SIZE)["front"]
    twice = mirror(mirror(record))
    for item in fields(ImageRecord):
        before, after = getattr(record, item.name), getattr(twice, item.name)
        np.testing.assert_allclose(before, after, atol=1e-6, err_msg=item.name)


def test_mirror_moves_the_seeds_with_the_objects():
    record = make_records(toy_sample(3), SIZE)["front"]
    straight, flipped = (collate([r], 4, np.random.default_rng(0), 0).targets for r in (record, mirror(record)))
    torch.testing.assert_close(straight.heat.flip(-1), flipped.heat)


def test_zoom_equals_a_camera_with_a_longer_lens():
    """A window of half the size at twice the scale, against the record of that camera itself."""
    rectangles = [(CAR, 5.0, 40, 32, 72, 64), (PERSON, 9.0, 64, 32, 80, 60), (6, 12.0, 4, 20, 20, 61)]
    zoomed = zoom(record_of(rectangles), 2.0, 0.5, 0.5)
    moved = [(k, z, 2 * a - 64, 2 * t - 48, 2 * r - 64, 2 * b - 48) for k, z, a, t, r, b in rectangles]
    longer = Camera("front", 128, 96, np.array([[128.0, 0, 64], [0, 128, 48], [0, 0, 1]]), np.eye(4))
    direct = record_of(moved, longer)
    assert zoomed.classes.tolist() == direct.classes.tolist() == [CAR, PERSON], "the third leaves the window"
    assert zoomed.occludes.tolist() == direct.occludes.tolist()
    for name in ("visible", "amodal"):
        differs = np.abs(getattr(zoomed, name).astype(int) - getattr(direct, name)) > 64
        assert differs.mean() < 0.02, "interpolated edges only"
    np.testing.assert_allclose(zoomed.boxes, direct.boxes, atol=1e-6)
    known = np.isfinite(zoomed.object_log_depth) & np.isfinite(direct.object_log_depth)
    assert known.sum() > 200
    np.testing.assert_allclose(zoomed.object_log_depth[known], direct.object_log_depth[known], atol=4e-3)
    assert (zoomed.visible <= zoomed.amodal).all()


def test_zoom_moves_lidar_points_with_the_picture():
    lidar = np.array([[8, -1 / 16, -1 / 16, 1], [4, 31 / 32, 15 / 32, 1], [4, 3.9, 0, 1]], np.float32)
    record = zoom(record_of([], lidar=lidar), 2.0, 0.5, 0.5)
    guidance = collate([record], 4, np.random.default_rng(0), 0).guidance[0]
    assert guidance[1].sum() == 2, "the third point leaves the window"
    assert guidance[0, 2 * 48 - 48 + 1, 2 * 64 - 64 + 1].item() == pytest.approx(128 / CANONICAL_FOCAL / 8)
    assert guidance[0, 2 * 40 - 48 + 1, 2 * 48 - 64 + 1].item() == pytest.approx(128 / CANONICAL_FOCAL / 4)


def test_zoom_by_one_changes_nothing_and_padding_stays_outside():
    record = make_records(toy_sample(3, count=8), SIZE)["front"]
    same = zoom(record, 1.0, 0.3, 0.3)
    for item in fields(ImageRecord):
        before, after = getattr(record, item.name), getattr(same, item.name)
        np.testing.assert_allclose(before, after, atol=1e-6, err_msg=item.name)
    padded = record_of([(CAR, 5.0, 32, 32, 96, 64)], toy_camera(width=256, height=96))
    assert zoom(padded, 2.0, 0.0, 0.5).content.tolist() == [128, 48]
    assert zoom(padded, 2.0, 0.0, 0.0).content.tolist() == [128, 96]


def test_an_object_cut_down_by_zoom_is_ignored():
    record = zoom(record_of([(CAR, 5.0, 20, 40, 33, 42)]), 2.0, 0.5, 0.5)
    assert record.classes.tolist() == []
    assert record.visible.shape == (0, 48, 64)
    assert np.argwhere(record.ignored).tolist() == [[row, column] for row in range(15, 19) for column in range(3)]


def test_guidance_holds_canonical_inverse_depth_of_the_points():
    lidar = np.array([[8, -1 / 16, -1 / 16, 1], [16, -1 / 8, -1 / 8, 1], [4, 31 / 32, 15 / 32, 1]], np.float32)
    record = record_of([], lidar=lidar)
    guidance = collate([record], 4, np.random.default_rng(0), 0).guidance[0]
    assert guidance[1].sum() == 2, "the farther of two points on one pixel is hidden"
    assert guidance[0, 48, 64].item() == pytest.approx(64 / CANONICAL_FOCAL / 8)
    assert guidance[0, 40, 48].item() == pytest.approx(64 / CANONICAL_FOCAL / 4)


def test_lidar_dropout_removes_all_or_some_points():
    record = make_records(toy_sample(0), SIZE)["front"]
    count = len(record.lidar_index)
    assert count > 100
    rng = np.random.default_rng(0)
    assert len(drop_lidar(record, rng, 1.0).lidar_index) == 0
    kept = [len(drop_lidar(record, rng, 0.0).lidar_index) for _ in range(30)]
    assert min(kept) > 0.2 * count
    assert max(kept) == count
    dropped = [len(drop_lidar(record, rng, 0.4).lidar_index) == 0 for _ in range(200)]
    assert 50 < sum(dropped) < 110


def test_photometric_changes_colours_and_keeps_the_picture():
    image = make_records(toy_sample(0), SIZE)["front"].image
    changed = [photometric(image, np.random.default_rng(seed)) for seed in range(8)]
    assert all(c.dtype == np.uint8 and c.shape == image.shape for c in changed)
    assert len({c.tobytes() for c in changed}) == 8
    for c in changed:
        assert np.corrcoef(c.mean(2).ravel(), image.mean(2).ravel())[0, 1] > 0.8


def test_noise_is_normal():
    noise = _noise((200, 300, 3), 5.0, np.random.default_rng(0))
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(5.0, rel=0.01)
    assert np.mean(np.abs(noise) < 5.0) == pytest.approx(0.683, abs=0.01)
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.01


def test_records_survive_the_disk(tmp_path):
    for number, record in enumerate([*make_records(toy_sample(1), SIZE).values(), record_of([])]):
        path = tmp_path / f"{number}.npz"
        record.save(path)
        again = ImageRecord.load(path)
        for item in fields(ImageRecord):
            before, after = getattr(record, item.name), getattr(again, item.name)
            assert before.dtype == after.dtype, item.name
            np.testing.assert_array_equal(before, after, err_msg=item.name)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        ImageRecord.load(path)


def test_objects_are_padded_to_the_largest_image():
    records = [record_of([NEAR_CAR, FAR_PERSON]), record_of([])]
    targets = collate(records, 4, np.random.default_rng(0), 1.0).targets
    assert targets.valid.tolist() == [[True, True], [False, False]]
    assert targets.occludes[0].tolist() == [[False, True], [False, False]]
    assert targets.heat[1].sum() == targets.forced[1].sum() == 0
    assert targets.visible.shape == (2, 2, 48 * 64)
    assert float(targets.visible.max()) == 1.0


@pytest.mark.parametrize("count", [40, 512, 3000])
def test_sampled_cells_are_sorted_different_and_repeatable(count):
    record = make_records(toy_sample(3, count=8), SIZE)["front"]
    cells = sample_cells(record, np.random.default_rng(1), count)
    assert cells.shape == (count,)
    assert (np.diff(cells) > 0).all()
    assert 0 <= cells[0] <= cells[-1] < record.log_depth.size
    np.testing.assert_array_equal(cells, sample_cells(record, np.random.default_rng(1), count))
    assert (cells != sample_cells(record, np.random.default_rng(2), count)).any()


def test_all_cells_are_taken_in_order_where_none_are_left_out():
    record = record_of([NEAR_CAR])
    everything = np.arange(record.log_depth.size)
    for count in (None, record.log_depth.size, 10**6):
        np.testing.assert_array_equal(sample_cells(record, np.random.default_rng(0), count), everything)


def test_cells_of_small_objects_are_taken_and_the_rest_is_thinned():
    small, large = (PERSON, 9.0, 100, 40, 106, 46), (CAR, 5.0, 4, 20, 84, 92)
    record = record_of([large, small])
    shape = record.log_depth.shape
    taken = np.zeros(record.log_depth.size)
    for seed in range(20):
        taken[sample_cells(record, np.random.default_rng(seed), 800)] += 1 / 20
    scale = shape[0] / 96
    taken = taken.reshape(shape)
    inside = [
        np.s_[int(t * scale) : int(b * scale), int(a * scale) : int(c * scale)] for _, _, a, t, c, b in (large, small)
    ]
    share_large, share_small = (taken[part].mean() for part in inside)
    assert share_small > 0.95
    assert share_large < 0.5 * share_small
    assert taken[:, int(116 * scale) :].mean() < share_large, "background"
    assert taken.min() < 1


def test_maps_of_objects_are_given_at_the_sampled_cells():
    record = record_of([NEAR_CAR, FAR_PERSON])
    targets = collate([record], 4, np.random.default_rng(0), 0.0, 300).targets
    cells = targets.cells[0].numpy()
    assert targets.visible.shape == targets.amodal.shape == targets.object_log_depth.shape == (1, 2, 300)
    np.testing.assert_allclose(targets.amodal[0].numpy(), record.amodal.reshape(2, -1)[:, cells] / 255, atol=1e-6)
    np.testing.assert_array_equal(targets.object_log_depth[0].numpy(), record.object_log_depth.reshape(2, -1)[:, cells])


def test_a_seed_stands_for_the_object_that_covers_most_of_its_cell():
    record = record_of([NEAR_CAR, FAR_PERSON])
    seed_object = collate([record], 4, np.random.default_rng(0), 0.0).targets.seed_object[0]
    assert seed_object.shape == (24, 32)
    assert (seed_object[8:16, 4:12] == 0).all()
    assert (seed_object[6:8, 10:14] == 1).all()
    assert (seed_object[6:16, 12:14] == 1).all()
    assert int((seed_object >= 0).sum()) == 8 * 8 + 2 * 4 + 8 * 2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = write_sequences(tmp_path_factory.mktemp("data"), ["a", "b"], frames=3)
    split = split_sequences([root], [], 0)
    return prepare_cache(split.train, tmp_path_factory.mktemp("cache"), [SIZE], workers=1)[SIZE]


def test_the_cache_holds_every_image_once_and_is_not_made_again(tmp_path):
    root = write_sequences(tmp_path / "data", ["a"], frames=2)
    readers = split_sequences([root], [], 0).train
    sizes = [SIZE, (64, 64)]
    first = prepare_cache(readers, tmp_path / "cache", sizes, workers=1)
    assert {size: len(paths) for size, paths in first.items()} == {SIZE: 4, (64, 64): 4}
    stamps = [path.stat().st_mtime_ns for path in first[SIZE]]
    (first[SIZE][0].parent / "00001.done").unlink()
    second = prepare_cache(readers, tmp_path / "cache", sizes, workers=1)
    assert second == first
    changed = [path.stat().st_mtime_ns != stamp for path, stamp in zip(second[SIZE], stamps)]
    assert changed == [False, False, True, True]


def test_another_data_set_with_the_same_names_gets_records_of_its_own(tmp_path, monkeypatch):
    samples = [[toy_sample(10 + seed, sequence="a", index=index) for index in range(2)] for seed in range(2)]
    files, readers = [], []
    for number, given in enumerate(samples):
        with SequenceWriter(tmp_path / str(number)) as writer:
            for sample in given:
                writer.write(sample)
        readers.append(split_sequences([tmp_path / str(number)], [], 0).train)
        files.append(prepare_cache(readers[-1], tmp_path / "cache", [SIZE], workers=1)[SIZE])
    for given, paths in zip(samples, files):
        truth = [make_records(sample, SIZE) for sample in given]
        expected = [records[camera].boxes for records in truth for camera in ("back", "front")]
        for path, boxes in zip(paths, expected, strict=True):
            np.testing.assert_array_equal(ImageRecord.load(path).boxes, boxes)
    monkeypatch.setattr("amodal_perception_ros.training.dataset.RECORD_FORMAT", -1)
    assert not set(prepare_cache(readers[0], tmp_path / "cache", [SIZE], workers=1)[SIZE]) & set(files[0])


def test_only_records_of_the_sequences_own_frames_are_listed(tmp_path):
    root = write_sequences(tmp_path / "data", ["a"], frames=1)
    readers = split_sequences([root], [], 0).train
    files = prepare_cache(readers, tmp_path / "cache", [SIZE], workers=1)[SIZE]
    assert [path.name for path in files] == ["00000_back.npz", "00000_front.npz"]
    (files[0].parent / "00001_front.npz").write_bytes(b"of another run")
    assert prepare_cache(readers, tmp_path / "cache", [SIZE], workers=1)[SIZE] == files


def test_cached_records_equal_those_of_the_original_samples(tmp_path):
    root = write_sequences(tmp_path / "data", ["a"], frames=1)
    path = prepare_cache(split_sequences([root], [], 0).train, tmp_path / "cache", [SIZE], workers=1)[SIZE]
    direct = make_records(toy_sample(0, sequence="a"), SIZE)
    for file in path:
        cached, truth = ImageRecord.load(file), direct[file.stem.split("_")[1]]
        for name in ("stuff", "levels", "visible", "amodal", "occludes", "boxes", "seeds", "classes"):
            np.testing.assert_array_equal(getattr(cached, name), getattr(truth, name), err_msg=name)
        difference = np.abs(cached.object_log_depth - truth.object_log_depth)
        assert np.nanmax(difference) < 0.02
        assert np.abs(cached.image.astype(int) - truth.image).mean() < 6, "JPEG"


def test_a_batch_depends_on_seed_and_step_only(files):
    arguments = {"batch_size": 4, "seed_stride": 4, "forced_seed_probability": 0.5, "augmentation": Augmentation()}
    source = BatchSource(files, seed=3, **arguments)
    later = BatchSource(files, seed=3, **arguments)[7]
    for a, b in zip(source[7].targets, later.targets):
        torch.testing.assert_close(a, b, equal_nan=True)
    assert torch.equal(source[7].image, later.image)
    assert not torch.equal(source[7].image, source[8].image)
    assert not torch.equal(source[7].image, BatchSource(files, seed=4, **arguments)[7].image)


def test_an_epoch_shows_every_image_once(files):
    source = BatchSource(files, 4, 4, seed=0)
    assert len(files) == 12
    for epoch in range(3):
        seen = [index for step in range(3) for index in source._indices(3 * epoch + step)]
        assert sorted(seen) == list(range(12))


def test_validation_goes_through_the_images_in_order(files):
    source = BatchSource(files, 5, 4)
    assert [source._indices(step) for step in range(len(source))] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_sequences_are_held_out_or_taken_from_their_folder(tmp_path):
    a = write_sequences(tmp_path / "a", ["s1", "s2", "s3"], frames=1)
    b = write_sequences(tmp_path / "b", ["s4"], frames=1)
    split = split_sequences([a], [], 1)
    assert [r.name for r in split.train] == ["s1", "s2"]
    assert [r.name for r in split.validation] == ["s3"]
    split = split_sequences([a], [b], 1)
    assert len(split.train) == 3
    assert [r.name for r in split.validation] == ["s4"]
    only = split_sequences([b], [], 1)
    assert len(only.train) == 1, "one sequence alone is trained on"
    assert only.validation == []


def test_overlapping_sequences_are_refused(tmp_path):
    a = write_sequences(tmp_path / "a", ["s1", "s2"], frames=1)
    b = write_sequences(tmp_path / "b", ["s2"], frames=1)
    with pytest.raises(InputError, match=r"\['s2'\].*training and in the validation"):
        split_sequences([a], [b], 1)
    with pytest.raises(InputError, match=r"several sequences named \['s2'\]"):
        split_sequences([a, b], [], 0)


def test_data_without_truth_is_refused():
    with pytest.raises(InputError, match="no annotated image"):
        BatchSource([], 4, 4)


def test_a_camera_without_truth_gives_no_record():
    sample = toy_sample(0)
    del sample.truth.cameras["back"]
    assert list(make_records(sample, SIZE)) == ["front"]


def test_levels_beyond_the_last_are_capped():
    sample = one_camera_sample([NEAR_CAR])
    scene = sample.truth.cameras["front"]
    scene.instances = [replace(scene.instances[0], occlusion_level=11)]
    assert make_records(sample, SIZE)["front"].levels.tolist() == [7]
