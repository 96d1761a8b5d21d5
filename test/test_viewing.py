"""Pictures with known answers: what is drawn where, in which style, and which way is up."""

import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import AmodalObject, BevOccupancy, Camera, CameraScene, Evidence, Instance
from amodal_perception_ros.viewing import Tick, draw_bev, draw_overlay, write_report
from amodal_perception_ros.viewing.bev_picture import (
    EGO_COLOR,
    FREE_COLOR,
    LEGEND_WIDTH,
    OCCUPIED_COLORS,
    UNKNOWN_COLOR,
)
from amodal_perception_ros.viewing.overlay import instance_color, label_text

HEIGHT, WIDTH = 96, 160
GRAY = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


def mask(left: int, top: int, right: int, bottom: int) -> RoiMask:
    return RoiMask.from_array(np.ones((bottom - top, right - left), bool), left, top)


def instance(visible: RoiMask, amodal: RoiMask, **changes: object) -> Instance:
    fields: dict[str, object] = {
        "instance_id": 26001,
        "class_id": 26,
        "score": 1.0,
        "visible_mask": visible,
        "amodal_mask": amodal,
        "occlusion_level": 1,
        "visible_depth": 10.0,
        "amodal_depth": 12.4,
        "amodal_depth_stddev": math.nan,
        "depth": np.full((amodal.height, amodal.width), 12.4, np.float32),
    }
    return Instance(**{**fields, **changes})  # type: ignore[arg-type]


def scene(*instances: Instance, height: int = HEIGHT, width: int = WIDTH) -> CameraScene:
    intrinsics = np.array([[80.0, 0, width / 2], [0, 80.0, height / 2], [0, 0, 1]])
    camera = Camera("front", width, height, intrinsics, np.eye(4))
    labels = np.zeros((height, width), np.uint16)
    return CameraScene(camera, 0, labels, np.full((height, width), np.nan, np.float32), list(instances))


HALF_HIDDEN = instance(mask(40, 40, 80, 80), mask(40, 40, 120, 80))


def test_a_scene_without_objects_leaves_the_image_as_it_is() -> None:
    drawn = draw_overlay(GRAY, scene())
    assert np.array_equal(drawn, GRAY)
    assert drawn is not GRAY


def test_the_image_given_is_not_changed() -> None:
    image = GRAY.copy()
    draw_overlay(image, scene(HALF_HIDDEN))
    assert np.array_equal(image, GRAY)


def test_pixels_outside_the_object_and_its_label_are_unchanged() -> None:
    drawn = draw_overlay(GRAY, scene(HALF_HIDDEN))
    changed = (drawn != GRAY).any(2)
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[40:80, 40:120] = False
    outside[24:40] = False  # the label lies just above the object
    assert not changed[outside].any()
    assert changed[41:79, 41:119].all()


def test_visible_part_is_an_even_tint_and_hidden_part_is_striped_and_dashed() -> None:
    drawn = draw_overlay(GRAY, scene(HALF_HIDDEN)).astype(int)
    visible, hidden = drawn[42:78, 42:78].reshape(-1, 3), drawn[42:78, 84:117].reshape(-1, 3)
    expected = 0.6 * 100 + 0.4 * np.array(instance_color(HALF_HIDDEN))
    assert np.abs(visible - expected).max() <= 1
    assert len(np.unique(hidden, axis=0)) == 2  # stripes of two shades
    assert not {tuple(color) for color in np.unique(hidden, axis=0)} & {tuple(c) for c in np.unique(visible, axis=0)}
    assert {tuple(color) for color in drawn[79, 84:119]} == {(0, 0, 0), (255, 255, 255)}  # dashes below
    assert {tuple(color) for color in drawn[79, 42:78]} == {instance_color(HALF_HIDDEN)}  # solid line below


def test_hidden_part_is_drawn_over_its_occluder() -> None:
    occluder = instance(mask(80, 30, 130, 90), mask(80, 30, 130, 90), instance_id=26002, amodal_depth=5.0)
    with_hidden = draw_overlay(GRAY, scene(HALF_HIDDEN, occluder))
    alone = draw_overlay(GRAY, scene(occluder))
    assert (with_hidden[42:78, 84:117] != alone[42:78, 84:117]).any(2).all()
    assert np.array_equal(with_hidden[82:89, 84:117], alone[82:89, 84:117])


def test_objects_that_leave_the_image_are_cut_off() -> None:
    beyond = instance(mask(0, 40, 20, 80), mask(-50, 40, 20, 140))
    drawn = draw_overlay(GRAY, scene(beyond))
    assert drawn.shape == GRAY.shape
    assert (drawn[85:, :19] != GRAY[85:, :19]).any(2).all()  # the hidden part below the visible one


def test_an_object_that_lies_outside_the_image_draws_nothing() -> None:
    outside = instance(RoiMask.empty(), mask(200, 10, 240, 60))
    assert np.array_equal(draw_overlay(GRAY, scene(outside)), GRAY)


def test_colors_keep_with_the_track() -> None:
    first = instance(mask(0, 0, 9, 9), mask(0, 0, 9, 9), instance_id=26001, track_id=7)
    later = instance(mask(0, 0, 9, 9), mask(0, 0, 9, 9), instance_id=26044, track_id=7)
    other = instance(mask(0, 0, 9, 9), mask(0, 0, 9, 9), instance_id=26001, track_id=8)
    assert instance_color(first) == instance_color(later) != instance_color(other)


def test_label_says_class_level_and_depth() -> None:
    assert label_text(HALF_HIDDEN) == "car L1 12 m"
    plain = instance(mask(0, 0, 9, 9), mask(0, 0, 9, 9), occlusion_level=0, amodal_depth=math.nan)
    assert label_text(plain) == "car"


def test_zoom_enlarges_picture_and_masks() -> None:
    drawn = draw_overlay(GRAY, scene(HALF_HIDDEN), zoom=2)
    assert drawn.shape == (2 * HEIGHT, 2 * WIDTH, 3)
    changed = (drawn != 100).any(2)
    assert changed[82:158, 82:238].all()
    assert not changed[162:].any()


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(90, 160, 3\).*\(96, 160, 3\)"):
        draw_overlay(GRAY[:90], scene())
    with pytest.raises(ValueError, match="float32"):
        draw_overlay(GRAY.astype(np.float32), scene())
    with pytest.raises(ValueError, match="zoom"):
        draw_overlay(GRAY, scene(), zoom=0)


@settings(max_examples=40, deadline=None)
@given(
    box=st.tuples(st.integers(-40, 150), st.integers(-40, 90), st.integers(1, 80), st.integers(1, 80)),
    share=st.floats(0, 1),
    zoom=st.integers(1, 2),
)
def test_any_box_is_drawn_within_itself_and_its_label(box: tuple[int, int, int, int], share: float, zoom: int) -> None:
    left, top, width, height = box
    amodal = mask(left, top, left + width, top + height)
    split = round(share * width)
    visible = mask(left, top, left + split, top + height) if split else RoiMask.empty()
    visible = visible.clipped(HEIGHT, WIDTH)
    drawn = draw_overlay(GRAY, scene(instance(visible, amodal)), zoom)
    below = max(0, top + height) * zoom
    label_reach = 20 * zoom  # a label at the upper border of the picture hangs below the border
    assert (drawn[max(below, label_reach) :] == 100).all()


def grid(**changes: object) -> BevOccupancy:
    """A free 40 m x 40 m grid around the origin of odom, cells of 1 m."""
    fields: dict[str, object] = {
        "stamp_ns": 0,
        "resolution": 1.0,
        "origin": (-20.0, -20.0),
        "visible": np.zeros((40, 40), np.int8),
        "amodal": np.zeros((40, 40), np.int8),
        "semantic": np.zeros((40, 40), np.uint8),
        "evidence": np.full((40, 40), Evidence.LIDAR, np.uint8),
        "z_min": 0.3,
        "z_max": 2.5,
    }
    return BevOccupancy(**{**fields, **changes})  # type: ignore[arg-type]


def pose(x: float, y: float, yaw: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    matrix[:2, 3] = x, y
    return matrix


def occupied_at(picture: np.ndarray, evidence: Evidence, size: int) -> tuple[float, float]:
    """Mean (row, column) of the map's pixels that have exactly the colour of that evidence."""
    rows, columns = np.nonzero((picture[:, :size] == OCCUPIED_COLORS[evidence]).all(2))
    assert rows.size
    return float(rows.mean()), float(columns.mean())


@pytest.mark.parametrize(
    ("ego", "cell_xy", "direction"),
    [
        (pose(0, 0, 0), (15.5, 0.5), "ahead"),
        (pose(0, 0, 0), (0.5, 15.5), "left"),
        (pose(0, 0, math.pi / 2), (0.5, 15.5), "ahead"),
        (pose(0, 0, math.pi / 2), (15.5, 0.5), "right"),
        (pose(0, 0, math.pi), (15.5, 0.5), "behind"),
        (pose(10, 0, 0), (3.5, 0.5), "behind"),
        (None, (15.5, 0.5), "ahead"),
    ],
)
def test_the_vehicle_heads_up(ego: np.ndarray | None, cell_xy: tuple[float, float], direction: str) -> None:
    amodal = np.zeros((40, 40), np.int8)
    column, row = (int(value + 20) for value in cell_xy)
    amodal[row, column] = 100
    evidence = np.full((40, 40), Evidence.LIDAR, np.uint8)
    evidence[row, column] = Evidence.AMODAL_INFERRED
    picture = draw_bev(grid(amodal=amodal, evidence=evidence), odom_from_base=ego, size=400)
    y, x = occupied_at(picture, Evidence.AMODAL_INFERRED, 400)
    down, right = y - 200, x - 200
    distance = {"ahead": -down, "behind": down, "left": -right, "right": right}[direction]
    sideways = right if direction in ("ahead", "behind") else down
    assert distance > 50
    assert abs(sideways) <= 10


def test_a_cell_is_drawn_at_its_distance() -> None:
    amodal = np.zeros((40, 40), np.int8)
    amodal[20, 30] = 100  # centre at x = 10.5 m, y = 0.5 m
    picture = draw_bev(grid(amodal=amodal), odom_from_base=pose(0, 0, 0), size=400)
    y, x = occupied_at(picture, Evidence.LIDAR, 400)
    assert 200 - y == pytest.approx(10.5 * 10, abs=1)
    assert 200 - x == pytest.approx(0.5 * 10, abs=1)


@pytest.mark.parametrize("evidence", [code for code in Evidence if code])
def test_occupied_cells_have_the_color_of_their_evidence(evidence: Evidence) -> None:
    full = np.full((40, 40), 100, np.int8)
    picture = draw_bev(grid(amodal=full, evidence=np.full((40, 40), evidence, np.uint8)), size=200)
    share = (picture[:, :200] == OCCUPIED_COLORS[evidence]).all(2).mean()
    assert share > 0.8  # the rest are the rings


def test_free_and_unknown_cells_differ() -> None:
    amodal = np.zeros((40, 40), np.int8)
    amodal[:, :20] = -1  # behind a vehicle that heads along x
    picture = draw_bev(grid(amodal=amodal), size=200)[:, :200]
    assert (picture[:90] == FREE_COLOR).all(2).mean() > 0.8
    assert (picture[110:] == UNKNOWN_COLOR).all(2).mean() > 0.8


def test_what_lies_outside_the_grid_is_unknown() -> None:
    picture = draw_bev(grid(), odom_from_base=pose(500, 500, 0.3), size=200)[:, :200]
    assert not (picture == FREE_COLOR).all(2).any()


def test_the_vehicle_is_drawn_only_with_a_pose() -> None:
    with_pose, without = draw_bev(grid(), odom_from_base=pose(0, 0, 0)), draw_bev(grid())
    assert (with_pose[320, 320] == EGO_COLOR).all()
    assert not (without == EGO_COLOR).all(2).any()
    assert with_pose.shape == without.shape == (640, 640 + LEGEND_WIDTH, 3)


def box(cameras: tuple[str, ...]) -> AmodalObject:
    center, size = np.array([10.0, 5.0, 0.8]), np.array([4.0, 2.0, 1.6])
    return AmodalObject(3, 26, 0.9, center, size, 0.0, np.zeros(3), 0.3, 0.5, cameras, 0)


def test_objects_are_outlined_where_they_are() -> None:
    drawn = draw_bev(grid(), [box(("front",))], pose(0, 0, 0), size=400)[:, :400]
    rows, columns = np.nonzero((drawn != draw_bev(grid(), (), pose(0, 0, 0), size=400)[:, :400]).any(2))
    # 8..12 m ahead and 4..6 m to the left, at 10 px per metre.
    assert (rows.min(), rows.max()) == pytest.approx((80, 120), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((140, 160), abs=2)


def test_an_object_out_of_sight_is_dashed() -> None:
    plain = draw_bev(grid(), size=400)
    pixels = [int((draw_bev(grid(), [box(c)], size=400) != plain).any(2).sum()) for c in (("front",), ())]
    assert 0 < pixels[1] < 0.8 * pixels[0]


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="no cells"):
        draw_bev(grid(amodal=np.zeros((0, 0), np.int8)))


SUMMARY = {
    "ticks_in": 40,
    "instances": 812,
    "dropped": {"late <b>": 3},
    "latency_ms": {"network": {"median": 210.12, "p95": 280.5}, "tick": {"median": 301.0, "p95": 390.7}},
    "model_id": "street-1",
}


def test_report_shows_figures_and_pictures_without_the_network(tmp_path: Path) -> None:
    tick = Tick("tick 0", {"front": draw_overlay(GRAY, scene(HALF_HIDDEN)), "left": GRAY}, draw_bev(grid()))
    path = write_report(tmp_path / "new" / "out", SUMMARY, [tick, Tick("tick 1", {"front": GRAY})])
    page = path.read_text()
    assert path == tmp_path / "new" / "out" / "report.html"
    for text in ("812", "210.1", "390.7", "street-1", "late &lt;b&gt;", "tick 1"):
        assert text in page
    assert "<b>late" not in page
    sources = re.findall(r'src="(data:image/[^"]{0,40})', page)
    assert [source.split(";")[0] for source in sources] == ["data:image/jpeg"] * 2 + [
        "data:image/png",
        "data:image/jpeg",
    ]
    assert re.findall(r"https?:|src=\"[^d]", page) == []


def test_report_keeps_the_pictures_beside_the_page(tmp_path: Path) -> None:
    bev = draw_bev(grid())
    write_report(tmp_path, {}, [Tick("t", {"front": GRAY}, bev)])
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["tick_000_bev.png", "tick_000_front.jpg"]
    assert np.array_equal(cv2.imread(str(tmp_path / "pictures" / "tick_000_bev.png"))[..., ::-1], bev)
    assert cv2.imread(str(tmp_path / "pictures" / "tick_000_front.jpg")).shape == GRAY.shape


def test_report_of_a_run_that_gave_nothing(tmp_path: Path) -> None:
    page = write_report(tmp_path, {"ticks_in": 0, "dropped": {}, "latency_ms": {}}, []).read_text()
    assert "Nothing was dropped." in page
    assert "<script>" not in page
