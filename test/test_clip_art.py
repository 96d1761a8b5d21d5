"""Clip-art compositing on scenes drawn by hand: flat ground, upright cards, a level camera 1.5 m above the road."""

from dataclasses import replace

import numpy as np
import pytest

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceWriter, read_sequence
from amodal_perception_ros.datasets.clip_art import MAX_SCALE, MIN_SCALE, composite, composite_sample, sample_cutouts
from amodal_perception_ros.datasets.composites import make_composites
from amodal_perception_ros.datasets.cutouts import (
    contact_depth,
    find_cutouts,
    is_unhidden,
    modal_scene,
    with_contact_depth,
)
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.labels import BY_NAME, SEGMENT_FACTOR, segment_id
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import (
    Camera,
    CameraScene,
    Instance,
    OcclusionOrder,
    Rig,
    Sample,
    SurroundFrame,
    SurroundScene,
)

WIDTH, HEIGHT, FOCAL, ABOVE = 200, 120, 100.0, 1.5
ROAD, SKY, POLE = (BY_NAME[name].id * SEGMENT_FACTOR for name in ("road", "sky", "pole"))


def make_camera():
    pose = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, ABOVE], [0, 0, 0, 1.0]])
    k = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, 40.0], [0, 0, 1]])
    return Camera("front", WIDTH, HEIGHT, k, pose)


def draw(cards, pole=None):
    """Draw cards (class name, number, distance, x of the middle, width, height) [m], far ones first."""
    camera = make_camera()
    depth = contact_depth(camera)
    labels = np.where(np.isfinite(depth), ROAD, SKY).astype(np.uint16)
    image = np.where((labels == ROAD)[..., None], 90, 200).astype(np.uint8).repeat(3, -1)
    alone = []
    for name, number, z, x, width, height in sorted(cards, key=lambda card: -card[2]):
        columns = np.round(WIDTH / 2 + FOCAL * np.array([x - width / 2, x + width / 2]) / z).astype(int)
        rows = np.round(40 + FOCAL * np.array([ABOVE - height, ABOVE]) / z).astype(int)
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[max(0, rows[0]) : rows[1], max(0, columns[0]) : columns[1]] = True
        segment = segment_id(BY_NAME[name].id, number)
        labels[mask], depth[mask], image[mask] = segment, z, (10 * number, 250 - 10 * number, 60)
        alone.append((segment, mask, z))
    if pole is not None:
        columns, z = pole
        shown = np.zeros((HEIGHT, WIDTH), bool)
        shown[10:90, columns] = True
        shown &= ~(depth < z)
        labels[shown], depth[shown] = POLE, z
    instances = [make_instance(segment, labels == segment, mask, z) for segment, mask, z in alone]
    return image, CameraScene(camera, 0, labels, depth.astype(np.float32), instances)


def make_instance(segment, visible, amodal, z):
    mask = RoiMask.from_array(amodal)
    depth = np.where(mask.roi(), np.float32(z), np.float32(np.nan))
    seen = float(z) if visible.any() else float("nan")
    return Instance(
        segment, segment // SEGMENT_FACTOR, 1.0, RoiMask.from_array(visible), mask, 0, seen, float(z), 0.0, depth,
        segment % SEGMENT_FACTOR,
    )  # fmt: skip


def make_sample(image, scene, lidar=None, name="drawn", index=0):
    frame = SurroundFrame(0, Rig((scene.camera,)), {"front": image}, {"front": 0}, lidar, None if lidar is None else 0)
    return Sample(name, index, frame, SurroundScene(0, {"front": scene}, "ground truth"))


def by_number(scene, number):
    return next(i for i in scene.instances if i.instance_id % SEGMENT_FACTOR == number)


PERSON = ("person", 1, 6.0, 0.0, 0.8, 1.7)
CLOSE = ("person", 1, 4.0, -1.0, 0.8, 1.7)
BEHIND = ("car", 2, 14.0, 1.5, 4.0, 1.5)


def test_depth_of_flat_ground_follows_from_height_and_focal_length():
    depth = contact_depth(make_camera())
    assert depth[89, 100] == pytest.approx(FOCAL * ABOVE / 49.5)
    assert np.isnan(depth[:40]).all()
    assert np.isfinite(depth[40:]).all()


def test_a_camera_without_extrinsics_is_taken_as_level_at_a_metre_and_a_half():
    camera = make_camera()
    np.testing.assert_allclose(contact_depth(replace(camera, base_from_camera=np.eye(4))), contact_depth(camera))


def test_the_nearer_object_is_unhidden_and_the_one_behind_it_is_not():
    _, scene = draw([PERSON, ("car", 2, 14.0, 0.5, 4.0, 1.5)])
    assert is_unhidden(scene, by_number(scene, 1))
    assert not is_unhidden(scene, by_number(scene, 2))


def test_a_pole_in_front_hides_and_one_behind_does_not():
    for distance, unhidden in ((4.0, False), (9.0, True)):
        _, scene = draw([PERSON], pole=(slice(94, 96), distance))
        assert is_unhidden(scene, by_number(scene, 1)) is unhidden


def test_objects_at_the_border_riders_and_small_ones_are_not_cut_out():
    image, scene = draw(
        [("car", 1, 6.0, -6.0, 4.0, 1.5), ("rider", 2, 6.0, 0.5, 0.8, 1.7), ("person", 3, 40.0, 8, 1, 2)]
    )
    assert find_cutouts(image, scene) == []
    image, scene = draw([("bike", 1, 6.0, 0.0, 1.8, 1.0), ("rider", 2, 5.9, 0.0, 0.6, 1.7)])
    assert find_cutouts(image, scene, min_area=50) == []


def test_a_cutout_holds_the_pixels_mask_and_distance_of_its_object():
    image, scene = draw([PERSON])
    (cutout,) = find_cutouts(image, scene, min_area=50)
    mask = by_number(scene, 1).visible_mask
    assert cutout.mask.sum() == mask.area
    assert cutout.distance == 6.0
    assert cutout.focal == FOCAL
    assert (cutout.image[cutout.mask] == (10, 240, 60)).all()


def pasted_scenes():
    image, scene = draw([PERSON])
    cutouts = find_cutouts(image, scene, min_area=50)
    target_image, target = draw([BEHIND, ("truck", 3, 30.0, -6.0, 3.0, 3.2)])
    for seed in range(12):
        yield target_image, target, composite(target_image, target, cutouts, np.random.default_rng(seed))


def test_truth_of_a_composite_is_consistent():
    found = 0
    for _, before, result in pasted_scenes():
        scene = result.scene
        assert len(result.pasted) + result.rejected.total() == 1
        found += len(result.pasted)
        for instance in scene.instances:
            visible = instance.visible_mask.to_array(HEIGHT, WIDTH)
            np.testing.assert_array_equal(visible, scene.labels == instance.instance_id)
            np.testing.assert_array_equal(
                scene.depth[visible], instance.depth[instance.visible_mask.window(*_roi(instance))]
            )
        for old in before.instances:
            assert scene.instance(old.instance_id).amodal_mask == old.amodal_mask
    assert found >= 10


def _roi(instance):
    mask = instance.amodal_mask
    return mask.x_offset, mask.y_offset, mask.width, mask.height


def test_a_pasted_object_stands_on_the_ground_and_is_scaled_by_its_distance():
    for _, before, result in pasted_scenes():
        for segment in result.pasted:
            instance = result.scene.instance(segment)
            _, _, _, bottom = instance.amodal_mask.box
            z = instance.amodal_depth
            assert instance.amodal_mask.height == pytest.approx(FOCAL * 1.7 / z, abs=1.5)
            assert bottom == pytest.approx(40 + FOCAL * ABOVE / z, abs=1.5)
            assert MIN_SCALE < 6.0 / z < MAX_SCALE
            for other in before.instances:
                assert abs(z - other.amodal_depth) > 0.3 or not other.amodal_mask.intersection_area(
                    instance.amodal_mask
                )


def test_a_car_pasted_before_a_person_gives_the_person_s_hidden_part_from_modal_labels():
    image, scene = draw([("car", 1, 8.0, 0.0, 4.0, 1.4)])
    cutouts = find_cutouts(image, scene)
    target_image, truth = draw([("person", 5, 12.0, 0.3, 0.9, 1.8)])
    target = modal_scene(truth)
    whole = by_number(target, 5).amodal_mask
    hidden = []
    for seed in range(20):
        result = composite(target_image, target, cutouts, np.random.default_rng(seed))
        person = by_number(result.scene, 5)
        assert person.amodal_mask == whole
        for segment in result.pasted:
            car = result.scene.instance(segment)
            if car.amodal_depth < 12:
                assert person.hidden_mask == whole & car.amodal_mask
                hidden.append(person.occlusion_ratio)
                if person.hidden_mask.area:
                    assert person.occlusion_level == 1
                    assert (segment, person.instance_id) in zip(
                        result.scene.order.occluder_ids, result.scene.order.occludee_ids
                    )
    assert max(hidden) > 0.2


def test_what_is_nearer_stays_in_front_of_a_pasted_object():
    image, scene = draw([("car", 1, 10.0, 0.0, 4.0, 1.4)])
    cutouts = find_cutouts(image, scene)
    target_image, target = draw([("person", 5, 4.0, 0.0, 0.7, 1.8)])
    behind = 0
    for seed in range(20):
        result = composite(target_image, target, cutouts, np.random.default_rng(seed))
        for segment in result.pasted:
            car, person = result.scene.instance(segment), by_number(result.scene, 5)
            if car.amodal_depth > 4 and car.amodal_mask.intersection_area(person.amodal_mask):
                behind += 1
                assert person.occlusion_ratio == 0
                assert car.hidden_mask == car.amodal_mask & person.visible_mask
                np.testing.assert_array_equal(
                    result.image[person.visible_mask.to_array(HEIGHT, WIDTH)],
                    target_image[person.visible_mask.to_array(HEIGHT, WIDTH)],
                )
    assert behind > 3


def test_without_ground_nothing_is_pasted_and_the_cause_is_counted():
    image, scene = draw([PERSON])
    cutouts = find_cutouts(image, scene, min_area=50)
    labels = np.full_like(scene.labels, SKY)
    empty = replace(scene, labels=labels, instances=[])
    result = composite(image, empty, cutouts, np.random.default_rng(0))
    assert result.pasted == []
    assert result.rejected == {"no ground at a fitting distance": 1}
    np.testing.assert_array_equal(result.image, image)


def test_lidar_points_behind_a_pasted_object_move_onto_it():
    image, scene = draw([PERSON])
    pool = find_cutouts(image, scene, min_area=50)
    target_image, target = draw([])
    v, u = np.mgrid[45:118:2, 2:198:2]
    z = target.depth[v, u].astype(np.float64)
    optical = np.stack([(u + 0.5 - 100) / FOCAL * z, (v + 0.5 - 40) / FOCAL * z, z], -1).reshape(-1, 3)
    pose = target.camera.base_from_camera
    points = np.concatenate([optical @ pose[:3, :3].T + pose[:3, 3], np.ones((len(optical), 1))], 1).astype(np.float32)
    sample, counts = composite_sample(
        make_sample(target_image, target, points), pool, np.random.default_rng(3), objects=(1, 1)
    )
    assert counts["pasted"] == 1
    person = sample.truth.cameras["front"].instances[0]
    depth = (sample.frame.lidar[:, :3] - pose[:3, 3]) @ pose[:3, 2]
    on_it = person.visible_mask.to_array(HEIGHT, WIDTH)[v, u].ravel()
    assert on_it.sum() > 20
    np.testing.assert_allclose(depth[on_it], person.amodal_depth, rtol=1e-4)
    np.testing.assert_array_equal(sample.frame.lidar[~on_it], points[~on_it])


def test_data_without_depth_are_composited_by_ground_contact_and_get_no_depth_truth():
    image, scene = draw([CLOSE, BEHIND])
    unknown = [replace(i, depth=np.full_like(i.depth, np.nan), amodal_depth=np.nan, visible_depth=np.nan)
               for i in scene.instances]  # fmt: skip
    blind = replace(scene, depth=np.full_like(scene.depth, np.nan), instances=unknown)
    guessed = with_contact_depth(blind)
    assert by_number(guessed, 1).visible_depth == pytest.approx(4.0, rel=0.05)
    sample = make_sample(image, modal_scene(blind))
    pool = sample_cutouts(sample)
    assert len(pool) >= 1
    pasted = ordered = 0
    for seed in range(10):
        done, counts = composite_sample(sample, pool, np.random.default_rng(seed), objects=(2, 2))
        ordered += len(done.truth.cameras["front"].order)
        pasted += counts["pasted"]
        result = done.truth.cameras["front"]
        assert np.isnan(result.depth).all()
        assert all(np.isnan(i.amodal_depth) for i in result.instances)
    assert pasted > 3
    assert ordered > 3


def test_without_depth_the_car_in_front_hides_the_person_behind_and_does_not_cut_into_him():
    image, scene = draw([("car", 1, 8.0, 0.0, 4.0, 1.4)])
    cutouts = find_cutouts(image, scene)
    target_image, truth = draw([("person", 5, 14.0, 0.3, 0.9, 1.8)])
    unknown = [replace(i, depth=np.full_like(i.depth, np.nan), amodal_depth=np.nan, visible_depth=np.nan)
               for i in truth.instances]  # fmt: skip
    target = with_contact_depth(modal_scene(replace(truth, depth=np.full_like(truth.depth, np.nan), instances=unknown)))
    hidden = 0
    for seed in range(30):
        result = composite(target_image, target, cutouts, np.random.default_rng(seed))
        person = by_number(result.scene, 5)
        for segment in result.pasted:
            car = result.scene.instance(segment)
            if not car.amodal_mask.intersection_area(person.amodal_mask):
                continue
            assert abs(car.amodal_depth - person.amodal_depth) > 2.6, "half a car and half a person"
            if person.occlusion_ratio > 0:
                hidden += 1
                assert person.occlusion_level == 1
                assert (segment, person.instance_id) in zip(
                    result.scene.order.occluder_ids, result.scene.order.occludee_ids
                )
    assert hidden > 3


def test_edges_that_were_known_stay():
    image, scene = draw([PERSON, ("car", 2, 14.0, 0.5, 4.0, 1.5)])
    person, car = (by_number(scene, number) for number in (1, 2))
    edge = OcclusionOrder(
        np.array([person.instance_id], np.uint32), np.array([car.instance_id], np.uint32), np.ones(1, np.float32),
        np.array([77], np.uint32), np.zeros(1, bool),
    )  # fmt: skip
    blind = [replace(i, depth=np.full_like(i.depth, np.nan)) for i in scene.instances]
    result = composite(image, replace(scene, order=edge, instances=blind), [], np.random.default_rng(0))
    assert result.scene.order.overlap_px.tolist() == [77]
    assert [i.occlusion_level for i in result.scene.instances] == [1, 0], "far ones first"


def test_what_pasting_does_not_change_is_kept():
    image, scene = draw([CLOSE, BEHIND])
    sample = replace(make_sample(image, scene), moving=frozenset({1}), flow={"front": np.zeros((HEIGHT, WIDTH, 2))})
    done, _ = composite_sample(sample, [], np.random.default_rng(0))
    assert done.moving == {1}
    assert done.flow == {}


def test_composites_of_a_data_set_are_written_and_read(tmp_path):
    with SequenceWriter(tmp_path / "data") as writer:
        for index in range(2):
            writer.write(make_sample(*draw([CLOSE, BEHIND]), index=index))
    counts = make_composites([tmp_path / "data"], tmp_path / "out", seed=4, objects=(2, 4), modal=True)
    reader = read_sequence(tmp_path / "out")
    assert reader.name == "drawn_clip4"
    assert len(reader) == 2
    assert counts["pasted"] >= 2
    again = make_composites([tmp_path / "data"], tmp_path / "again", seed=4, objects=(2, 4), modal=True)
    assert again == counts
    for index in range(2):
        np.testing.assert_array_equal(
            reader[index].frame.images["front"], read_sequence(tmp_path / "again")[index].frame.images["front"]
        )
    assert not make_composites([tmp_path / "data"], tmp_path / "out", seed=4, objects=(2, 4), modal=True)


def test_wrong_settings_of_composites_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be written into the data"):
        make_composites([tmp_path], tmp_path)
    with pytest.raises(InputError, match="objects per image 3-1"):
        make_composites([tmp_path], tmp_path / "out", objects=(3, 1))
    with pytest.raises(InputError, match="seed -1"):
        make_composites([tmp_path], tmp_path / "out", seed=-1)


def test_sequences_of_one_name_and_other_settings_are_refused(tmp_path):
    for name in ("one", "two"):
        with SequenceWriter(tmp_path / name) as writer:
            writer.write(make_sample(*draw([CLOSE, BEHIND])))
    with pytest.raises(InputError, match=r"several sequences are named \['drawn'\]"):
        make_composites([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    make_composites([tmp_path / "one"], tmp_path / "out", objects=(0, 0))
    with pytest.raises(InputError, match="made with other settings"):
        make_composites([tmp_path / "one"], tmp_path / "out", objects=(3, 3))
