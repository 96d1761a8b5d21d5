"""Pre- and post-processing against answers worked out by hand, and the engines against each other."""

import math
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.invariants import InvariantViolations
from amodal_perception_ros.labels import BY_NAME, STUFF, THINGS
from amodal_perception_ros.network import CANONICAL_FOCAL, AmodalNetwork, NetworkConfig, NetworkOutput, save_weights
from amodal_perception_ros.network.config import OUTPUT_STRIDE
from amodal_perception_ros.perception import Perception, PostprocessConfig
from amodal_perception_ros.perception.calibration import Calibration
from amodal_perception_ros.perception.painting import CopyingPainter, paint_all
from amodal_perception_ros.perception.parallel import for_each_image
from amodal_perception_ros.perception.postprocess import build_scenes
from amodal_perception_ros.perception.preprocess import prepare, sparse_inverse_depth, view_of
from amodal_perception_ros.perception.selection import MAX_PAIRS, object_windows, shared_cells
from amodal_perception_ros.scene import Camera, Rig, SurroundFrame
from amodal_perception_ros.trajectory import Trajectory

SIZE = (128, 64)
CELLS = (16, 32)
"""Of 4 x 4 px, in which the tests draw."""
GRID = tuple(4 // OUTPUT_STRIDE * side for side in CELLS)
CAR = [label.name for label in THINGS].index("car")
PERSON = [label.name for label in THINGS].index("person")
ROAD, SKY = (STUFF.index(BY_NAME[name]) for name in ("road", "sky"))


def camera(name="front", width=128, height=64, focal=CANONICAL_FOCAL):
    k = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return Camera(name, width, height, k, np.eye(4))


def network_output(objects, tokens=8):
    """One image: road below, sky above at 50 m; objects are (class index, visible, amodal, depth) on the grid."""
    stuff = torch.full((1, 11, *GRID), -40.0)
    horizon = GRID[0] // 2
    stuff[:, ROAD, horizon:] = 0.0
    stuff[:, SKY, :horizon] = 0.0
    classes = torch.full((1, tokens, 8), -9.0)
    classes[..., -1] = 9.0
    visible = torch.full((1, tokens, *GRID), -20.0)
    amodal = visible.clone()
    depth = torch.zeros(1, tokens, *GRID)
    for k, (kind, seen, whole, metres) in enumerate(objects):
        classes[0, k, kind], classes[0, k, -1] = 9.0, -9.0
        visible[0, k][seen], amodal[0, k][whole] = 20.0, 20.0
        depth[0, k] = math.log(metres)
    return NetworkOutput(
        stuff_logits=stuff,
        log_depth=torch.full((1, *GRID), math.log(50.0)),
        heat_logits=torch.zeros(1, 1, *CELLS),
        seed_score=torch.ones(1, tokens),
        seed_index=torch.zeros(1, tokens, dtype=torch.int64),
        class_logits=classes,
        boxes=boxes_of(visible, amodal),
        order_logits=torch.zeros(1, tokens, tokens),
        occluded_logits=torch.zeros(1, tokens),
        quality_logits=torch.zeros(1, tokens),
        description=(visible, amodal, depth),
    )


def boxes_of(visible, amodal):
    """Return the boxes of masks; without a mask a box in the first cell."""
    boxes = torch.full((*amodal.shape[:2], 4), 0.01)
    for _, token in {tuple(place) for place in torch.nonzero((visible > 0) | (amodal > 0))[:, :2].tolist()}:
        row, column = torch.nonzero((visible[0, token] > 0) | (amodal[0, token] > 0)).T
        size = torch.tensor([GRID[1], GRID[0]])
        first, last = (torch.stack([column.amin(), row.amin()]), torch.stack([column.amax(), row.amax()]) + 1)
        boxes[0, token] = torch.cat([(first + last) / 2 / size, (last - first) / size])
    return boxes


def block(top, bottom, left, right):
    mask = torch.zeros(CELLS, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask.repeat_interleave(GRID[0] // CELLS[0], 0).repeat_interleave(GRID[1] // CELLS[1], 1)


def car_hides_person(order=None):
    """A car at 8 m hides the lower half of a person at 12 m."""
    person, car = block(4, 12, 10, 14), block(8, 14, 6, 20)
    output = network_output([(PERSON, person & ~car, person, 12.0), (CAR, car, car, 8.0)])
    if order:
        output.order_logits[0][order] = 50.0
    return output


def scene_of(output, cam=None, **config):
    cam = cam or camera()
    return build_scenes(output, CopyingPainter(), [view_of(cam, SIZE)], [7], PostprocessConfig(**config))[0]


def test_the_hidden_part_is_there_with_its_depth_and_order():
    scene = scene_of(car_hides_person())
    person, car = scene.instance(24001), scene.instance(26001)
    # 8 x 4 cells of 16 px; the interpolation between +20 and -20 keeps straight edges on the cell border.
    assert person.amodal_mask.box == (40, 16, 56, 48)
    assert person.amodal_mask.area == pytest.approx(32 * 16, abs=4)
    assert person.visible_mask.box == (40, 16, 56, 32)
    assert person.visible_mask.area == pytest.approx(16 * 16, abs=4)
    assert car.visible_mask == car.amodal_mask
    assert (person.occlusion_level, car.occlusion_level) == (1, 0)
    assert scene.order.occluder_ids.tolist() == [26001]
    assert scene.order.occludee_ids.tolist() == [24001]
    assert scene.order.overlap_px.tolist() == [(person.amodal_mask & car.amodal_mask).area]
    assert scene.order.probability[0] > 0.8
    assert person.amodal_depth == pytest.approx(12.0)
    assert math.isnan(person.amodal_depth_stddev)
    np.testing.assert_allclose(person.depth[person.amodal_mask.roi()], 12.0, rtol=1e-5)
    assert scene.labels[10, 5] == 23000
    assert scene.labels[60, 5] == 7000
    assert np.isnan(scene.depth[2, 2])
    assert scene.depth[60, 5] == pytest.approx(50.0)
    assert scene.depth[40, 48] == pytest.approx(8.0)
    assert scene.stamp_ns == 7


def test_labels_and_visible_masks_say_the_same_at_any_camera_size():
    for width, height in ((128, 64), (300, 150), (97, 48), (100, 90)):
        scene = scene_of(car_hides_person(), camera(width=width, height=height))
        assert len(scene.instances) == 2
        for instance in scene.instances:
            mask = instance.visible_mask.to_array(height, width)
            assert ((scene.labels == instance.instance_id) == mask).all()
            assert mask.any()


def test_pair_logits_can_overrule_a_small_depth_difference():
    person, car = block(4, 12, 10, 14), block(8, 14, 6, 20)
    output = network_output([(PERSON, person & ~car, person, 8.0), (CAR, car, car, 8.1)])
    output.order_logits[0, 1, 0] = 9.0  # token 1, the car, occludes token 0
    scene = scene_of(output)
    assert scene.order.occluder_ids.tolist() == [26001]
    # The invariant: hidden depth is not in front of the occluder there.
    hidden = scene.instance(24001).hidden_mask.to_array(64, 128)
    assert np.nanmin(scene.depth_levels()[1][hidden]) >= 8.1 - 1e-4


def test_duplicates_and_ghosts_are_dropped_and_their_pixels_given_away():
    car = block(8, 14, 6, 20)
    twice = network_output([(CAR, car, car, 8.0), (CAR, car, car, 8.0)])
    assert [item.instance_id for item in scene_of(twice).instances] == [26001]
    ghost = network_output([(CAR, car, car, 8.0), (PERSON, block(8, 14, 6, 9), block(8, 14, 6, 9), 9.0)])
    ghost.description[0][0, 1] -= 10.0  # loses every pixel to the car
    scene = scene_of(ghost)
    assert [item.instance_id for item in scene.instances] == [26001]
    assert (scene.labels > 0).all()


def test_what_is_hardly_occluded_has_no_hidden_part():
    """Of the person 16 x 16 px are hidden; by the logit of being occluded, or as too little, that is nothing."""
    doubted = car_hides_person()
    doubted.occluded_logits[0] = -1.0  # a probability of 0.27
    for output, calibration, hidden in (
        (doubted, Calibration(occluded_threshold=0.26), 256),
        (doubted, Calibration(occluded_threshold=0.28), 0),
        (car_hides_person(), Calibration(min_hidden_px=200), 256),
        (car_hides_person(), Calibration(min_hidden_px=300), 0),
    ):
        scene = scene_of(output, calibration=calibration)
        assert scene.instance(24001).hidden_mask.area == pytest.approx(hidden, abs=4)
        assert scene.instance(24001).occlusion_level == len(scene.order) == (hidden > 0)


def test_calibrated_logits_decide_on_score_and_mask():
    output = car_hides_person()
    output.class_logits[0, 0, [PERSON, -1]] = torch.tensor([1.0, 0.0])  # the logit of being a thing is 1
    output.quality_logits[0, 0] = -4.0
    sure, unsure = Calibration(score=(1, 0.25, 0.5)), Calibration(score=(1, 0.5, 0), score_threshold=0.5)
    # 1 - 0.25 * 4 + 0.5 = 0.5 and 1 - 0.5 * 4 = -1; the other classes' logits of -9 hardly count.
    assert scene_of(output, calibration=sure).instance(24001).score == pytest.approx(1 / (1 + math.exp(-0.5)), abs=1e-3)
    assert [item.instance_id for item in scene_of(output, calibration=unsure).instances] == [26001]
    assert len(scene_of(output, calibration=unsure, score_threshold=0.2).instances) == 2
    strict = scene_of(output, calibration=Calibration(amodal=(0.5, -11.0)))  # 0.5 * 20 - 11 is below 0
    assert strict.instance(24001).hidden_mask.area == 0


def test_windows_hold_the_enlarged_box_the_seed_and_a_margin():
    """In cells: a box of 8 x 4 reaches 1.5 * 4 + 1 and 1.5 * 2 + 1 to each side, and the margin is a cell."""
    grid = (32, 64)
    box = [20 / 64, 16 / 32, 8 / 64, 4 / 32]
    windows = object_windows(np.array([box, box, box]), np.array([[0.3, 0.5], [50.5 / 64, 0.5], [0.3, 0.5]]), grid)
    assert windows[0] == (slice(11, 21), slice(12, 28))
    assert windows[1] == (slice(11, 21), slice(12, 52)), "the seed is far to the right"
    whole = object_windows(np.array([[0.9, 0.1, 3, 3]]), np.array([[0.99, 0.01]]), grid)
    assert whole == [(slice(0, 32), slice(0, 64))]
    assert object_windows(np.zeros((0, 4)), np.zeros((0, 2)), grid) == []


def test_only_what_is_chosen_leaves_the_device():
    """Copies as they come from a GPU hold the maps of the chosen tokens, each on its window."""
    output = car_hides_person()
    output = NetworkOutput.from_named(
        {name: torch.cat([part, part.roll(1, 1)]) for name, part in output.named().items()}
    )
    chosen = [np.array([1, 0]), np.array([2])]
    windows = [[(slice(3, 9), slice(2, 20)), (slice(0, 4), slice(5, 6))], [(slice(8, 32), slice(0, 64))]]
    for image, painting in enumerate(paint_all(CopyingPainter(), output, chosen, windows)):
        np.testing.assert_array_equal(painting.stuff, output.stuff_logits[image])
        np.testing.assert_array_equal(painting.log_depth, output.log_depth[image])
        assert len(painting.objects) == len(chosen[image])
        for maps, token, window in zip(painting.objects, chosen[image], windows[image]):
            for copied, whole in zip(maps, output.description):
                np.testing.assert_array_equal(copied, whole[image, token][window])


def test_what_lies_outside_of_the_window_is_not_the_object():
    """A second block of the car's masks, far from its box, stays road."""
    car, ghost = block(8, 14, 6, 12), block(8, 14, 26, 30)
    output = network_output([(CAR, car, car, 8.0)])
    for maps in output.description[:2]:
        maps[0, 0][ghost] = 20.0
    scene = scene_of(output)
    assert scene.instances[0].amodal_mask.box == (24, 32, 48, 56)
    assert scene.labels[44, 112] == 7000


@pytest.mark.parametrize("count", [0, 1, 5])
def test_cells_in_several_masks_are_found_with_their_pairs(count):
    rng = np.random.default_rng(count)
    masks = rng.random((count, 6, 9)) < 0.5
    windows = [(slice(1, 6), slice(k, 9)) for k in range(count)]
    whole = np.zeros((count, 6, 9), bool)
    for image, mask, window in zip(whole, masks, windows):
        image[window] = mask[window]
    shared = shared_cells([mask[window] for mask, window in zip(masks, windows)], windows, (6, 9))
    overlap = np.array([[np.count_nonzero(a & b) for b in whole] for a in whole]).reshape(count, count)
    np.testing.assert_array_equal(shared.sums(count), np.triu(overlap, 1))


def test_many_masks_over_each_other_are_sampled_and_small_overlaps_are_not():
    shape, count = (60, 80), 40
    corner = (slice(0, 2), slice(0, 3))
    masks = [np.ones((60, 40), bool)] * count + [np.ones((60, 40), bool), np.ones((2, 3), bool)]
    windows = [(slice(0, 60), slice(40, 80))] * count + [(slice(0, 60), slice(0, 40)), corner]
    shared = shared_cells(masks, windows, shape)
    assert len(shared.cells) < 1.2 * MAX_PAIRS < 2400 * count * (count - 1) / 2
    sums = shared.sums(count + 2)
    np.testing.assert_allclose(sums[:count, :count], np.triu(np.full((count, count), 2400), 1), rtol=0.05)
    assert sums[count, count + 1] == 6, "an overlap of two masks alone is exact"


def test_images_are_worked_on_side_by_side_in_their_order():
    """Both images wait for each other, which takes two threads; PyTorch has one in each, and its own again after."""
    together, before = threading.Barrier(2, timeout=60), torch.get_num_threads()

    def work(image: int) -> tuple[int, int]:
        together.wait()
        return image, torch.get_num_threads()

    try:
        torch.set_num_threads(2)
        assert for_each_image(work, [5, 3]) == [(5, 1), (3, 1)]
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        here = threading.get_ident()
        assert for_each_image(lambda _: threading.get_ident(), [0, 1]) == [here, here]
        assert for_each_image(work, []) == []
    finally:
        torch.set_num_threads(before)


def test_an_error_in_an_image_comes_out():
    with pytest.raises(ZeroDivisionError):
        for_each_image(lambda image: 1 // image, [1, 0])


@st.composite
def random_outputs(draw):
    """Objects with conflicting masks, depths and pair logits, over stuff at a random depth."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    objects = []
    for _ in range(draw(st.integers(0, 6))):
        top, left = rng.integers(0, CELLS[0] - 2), rng.integers(0, CELLS[1] - 2)
        whole = block(top, top + rng.integers(2, 10), left, left + rng.integers(2, 16))
        seen = whole & torch.from_numpy(rng.random(GRID) < rng.uniform(0.2, 1))
        objects.append((int(rng.integers(len(THINGS))), seen, whole, float(rng.uniform(3, 60))))
    output = network_output(objects)
    visible = output.description[0]
    visible.copy_(visible + torch.from_numpy(rng.normal(0, 3, visible.shape)))
    output.order_logits.copy_(torch.from_numpy(rng.normal(0, 4, output.order_logits.shape)))
    output.log_depth.fill_(float(np.log(rng.uniform(3, 60))))
    return output


@settings(max_examples=60, deadline=None)
@given(random_outputs(), st.sampled_from([(128, 64), (300, 150), (97, 48), (64, 32), (32, 16)]))
def test_every_scene_keeps_the_invariants(output, size):
    scene = scene_of(output, camera(width=size[0], height=size[1]), min_visible_share=0.0, duplicate_iou=1.0)
    checked = InvariantViolations()
    checked.add(decode(scene))
    assert checked.results()["by_kind"] == dict.fromkeys(checked.results()["by_kind"], 0)
    assert all(instance.visible_mask.area for instance in scene.instances)
    masks = {instance.instance_id: instance.amodal_mask for instance in scene.instances}
    for occluder, occludee, overlap in zip(scene.order.occluder_ids, scene.order.occludee_ids, scene.order.overlap_px):
        assert overlap == (masks[int(occluder)] & masks[int(occludee)]).area


def test_a_hidden_part_needs_something_that_hides_it():
    """The field of a car at 8 m spills over road seen at 50 m and over the sky: there it would be visible."""
    seen, spilled = block(8, 12, 6, 12), block(4, 14, 6, 20)
    car = scene_of(network_output([(CAR, seen, spilled, 8.0)])).instances[0]
    assert car.amodal_mask == car.visible_mask


def test_a_hidden_part_behind_a_wall_stays():
    seen, whole = block(8, 12, 6, 12), block(8, 12, 6, 20)
    output = network_output([(CAR, seen, whole, 8.0)])
    output.log_depth.fill_(math.log(5.0))
    car = scene_of(output).instances[0]
    assert car.hidden_mask.area == pytest.approx(8 * 4 * 16, abs=8)
    assert car.occlusion_level == 0


def test_an_empty_street_has_no_instances():
    scene = scene_of(network_output([]))
    assert scene.instances == []
    assert len(scene.order) == 0
    assert set(np.unique(scene.labels)) == {7000, 23000}


def test_depth_follows_the_focal_length():
    scene = scene_of(car_hides_person(), camera(focal=2 * CANONICAL_FOCAL))
    assert scene.instance(26001).amodal_depth == pytest.approx(16.0)


def test_depth_standard_deviation_comes_from_the_measured_relative_error():
    scene = scene_of(car_hides_person(), depth_relative_stddev=0.1)
    assert scene.instance(24001).amodal_depth_stddev == pytest.approx(1.2)


def test_a_point_projects_to_its_pixel_and_the_nearest_wins():
    """At focal 256, centre (64, 32): (1, 0.5, 8) falls on column 64 + 32 = 96, row 32 + 16 = 48."""
    view = view_of(camera(), SIZE)
    points = np.array([[1, 0.5, 8, 0], [2, 1, 16, 0], [0, 0, -5, 0], [100, 0, 5, 0]], np.float32)
    guidance = sparse_inverse_depth(points, np.eye(4), view, SIZE)
    assert guidance[0, 48, 96] == pytest.approx(1 / 8)
    assert guidance[1].sum() == 1
    assert (guidance[0] > 0).sum() == 1


def test_inverse_depth_is_canonical_whatever_the_image_size():
    """The same camera at twice the resolution must give the network the same input."""
    points = np.array([[1.01, 0.51, 8, 0]], np.float32)
    small, large = camera(), camera(width=256, height=128, focal=2 * CANONICAL_FOCAL)
    first = sparse_inverse_depth(points, np.eye(4), view_of(small, SIZE), SIZE)
    second = sparse_inverse_depth(points, np.eye(4), view_of(large, SIZE), SIZE)
    np.testing.assert_allclose(first, second)


def test_preparation_keeps_aspect_ratio_and_pads():
    rig = Rig((camera(width=100, height=100, focal=90.0),))
    frame = SurroundFrame(0, rig, {"front": np.full((100, 100, 3), 255, np.uint8)})
    batch = prepare(frame, SIZE)
    assert batch.image.shape == (1, 3, 64, 128)
    assert batch.views[0].width == batch.views[0].height == 64
    assert (batch.image[..., :64] == 1).all()
    assert (batch.image[..., 64:] == 0).all()
    assert (batch.guidance == 0).all()


def test_a_frame_without_images_is_refused():
    with pytest.raises(ValueError, match="no image"):
        prepare(SurroundFrame(0, Rig((camera(),)), {}), SIZE)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Random weights: good enough to compare engines, never to perceive."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    config = NetworkConfig(widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, tokens=16)
    save_weights(path, AmodalNetwork(config), {"model_id": "untrained", "amodal_depth_relative_stddev": "0.25"})
    return path


def four_camera_frame(missing=()):
    names = ("front", "right", "back", "left")
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 255, (64, 128, 3), dtype=np.uint8) for name in names}
    points = rng.normal(0, 10, (500, 4)).astype(np.float32)
    images = {name: image for name, image in images.items() if name not in missing}
    return SurroundFrame(5, Rig(tuple(camera(name) for name in names)), images, lidar=points, missing=tuple(missing))


def test_engines_agree(untrained, tmp_path, monkeypatch):
    """Dense outputs, and the tokens of all common seeds; near-equal peaks may swap the last places of the list."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    batch = prepare(four_camera_frame(), SIZE)
    engines = [Perception.from_weights(untrained, name, input_size=SIZE).engine for name in ("torch", "onnxruntime")]
    first, second = (engine.run(batch) for engine in engines)
    whole = [[(slice(None), slice(None))] * 16] * 4
    paintings = [paint_all(engine.painter, engine.run(batch), [np.arange(16)] * 4, whole) for engine in engines]
    for field in ("stuff_logits", "log_depth", "heat_logits"):
        torch.testing.assert_close(getattr(first, field), getattr(second, field), atol=2e-3, rtol=1e-3)
    for image in range(4):
        places = {int(seed): place for place, seed in enumerate(second.seed_index[image])}
        common = [
            (place, places[int(seed)]) for place, seed in enumerate(first.seed_index[image]) if int(seed) in places
        ]
        assert len(common) >= 14  # of 16
        own, other = (torch.tensor(side) for side in zip(*common))
        for field in ("class_logits", "boxes", "occluded_logits", "quality_logits"):
            pair = getattr(first, field)[image][own], getattr(second, field)[image][other]
            torch.testing.assert_close(*pair, atol=2e-3, rtol=1e-3)
        order = first.order_logits[image][own][:, own], second.order_logits[image][other][:, other]
        torch.testing.assert_close(*order, atol=2e-3, rtol=1e-3)
        for mine, others in common:
            drawn = paintings[0][image].objects[mine], paintings[1][image].objects[others]
            for one, another in zip(*drawn):
                np.testing.assert_allclose(one, another, atol=2e-3, rtol=1e-3)
    assert list(tmp_path.glob("amodal_perception_ros/*.onnx"))


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_a_missing_camera_changes_nothing_for_the_others(untrained, tmp_path, monkeypatch, engine):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    perception = Perception.from_weights(
        untrained, engine, input_size=SIZE, config=PostprocessConfig(score_threshold=0.1)
    )
    assert perception.config.depth_relative_stddev == 0.25
    whole, partial = (
        perception.perceive(four_camera_frame()),
        perception.perceive(four_camera_frame(missing=("right",))),
    )
    assert list(partial.cameras) == ["front", "back", "left"]
    for name, scene in partial.cameras.items():
        assert (scene.labels == whole.cameras[name].labels).all()
    assert whole.model_id == "untrained"
    assert set(whole.timings_ms) == {"preprocess", "inference", "postprocess"}


def test_a_late_camera_is_perceived_where_it_was(untrained):
    """10 m/s for 20 ms; the caller's frame stays as it is."""
    frame = four_camera_frame()
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, 0, 3] = 1.0
    frame.trajectory = Trajectory(frame.stamp_ns + np.array([0, 100_000_000]), poses)
    frame.image_stamps_ns = {"right": frame.stamp_ns + 20_000_000, "left": frame.stamp_ns + 10**9}
    scene = Perception.from_weights(untrained, input_size=SIZE).perceive(frame)
    places = {name: seen.camera.base_from_camera[0, 3] for name, seen in scene.cameras.items()}
    assert places == pytest.approx({"front": 0.0, "right": 0.2, "back": 0.0, "left": 0.0})
    assert scene.uncompensated == {"left": "odometry ends too early"}
    assert scene.cameras["right"].stamp_ns == frame.stamp_ns + 20_000_000
    assert frame.rig.camera("right").base_from_camera[0, 3] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"weights": "nowhere.onnx", "engine": "onnxruntime"}, "not found"),
        ({"engine": "tensorflow"}, "choose one of"),
        ({"input_size": (500, 288)}, "multiples of 32"),
        ({"precision": "int3"}, "choose one of"),
        ({"device": "tpu"}, "device 'tpu'"),
        ({"device": "cuda0"}, "device 'cuda0'"),
    ],
)
def test_wrong_options_are_one_clear_line(untrained, options, message):
    with pytest.raises(InputError, match=message) as error:
        Perception.from_weights(**{"weights": untrained, "input_size": SIZE, **options})
    assert "\n" not in str(error.value)
