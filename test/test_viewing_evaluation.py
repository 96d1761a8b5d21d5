"""The page of an evaluation and its pictures: what must be on it, and where, and what must never be."""

import base64
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from evaluation_scenes import Thing, camera, instance, order, street, with_instance, without
from hypothesis import given
from hypothesis import strategies as st

from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.evaluation.evaluation import Evaluation
from amodal_perception_ros.evaluation.table import ROWS
from amodal_perception_ros.evaluation.worst import ImageErrors, WorstImage
from amodal_perception_ros.labels import ClassList
from amodal_perception_ros.scene import CameraScene
from amodal_perception_ros.viewing.charts import Estimate, interval_chart, reliability_chart
from amodal_perception_ros.viewing.error_overlay import (
    CANVAS_COLOR,
    INVENTED_COLOR,
    MAX_WIDTH_PX,
    MISSED_COLOR,
    RIGHT_COLOR,
    WRONG_ORDER_COLOR,
    draw_errors,
)
from amodal_perception_ros.viewing.evaluation_page import write_page
from amodal_perception_ros.viewing.figures import figure_text, interval_text, symbol
from amodal_perception_ros.viewing.overlay import label_text

ZOOM = 4
"""The small scenes of 32 x 24 pixels are enlarged by that."""

NEAR = Thing("car", 1, (2, 4, 14, 20), 10.0)
FAR = Thing("car", 2, (10, 6, 26, 18), 20.0)
"""Its columns 10 to 13 are hidden by the near car."""


def at(picture, x, y):
    """Colour in the middle of a pixel of the scene."""
    return tuple(int(value) for value in picture[y * ZOOM + ZOOM // 2, x * ZOOM + ZOOM // 2])


def corner(picture, x, y):
    """Colour of the top left pixel that an enlarged pixel of the scene became: there run outlines."""
    return tuple(int(value) for value in picture[y * ZOOM, x * ZOOM])


def count(picture, color):
    return int((picture == color).all(2).sum())


def near(picture, color):
    """Where a picture has about that colour: smooth lines are mixed with what is below."""
    return (np.abs(picture.astype(int) - color) < 60).all(2)


def errors(**wrong):
    return ImageErrors("street 1", 7, "front", **wrong)


def test_a_missed_object_is_red_with_its_amodal_outline_in_the_truth_alone():
    truth = street(NEAR, FAR)
    true, guess = draw_errors(None, truth, without(truth, FAR.id), errors(missed=(FAR.id,)))
    assert true.shape == guess.shape == (24 * ZOOM, 32 * ZOOM, 3)
    for x, y in ((10, 6), (10, 12), (12, 6), (20, 6)):  # left and upper edge of the box, hidden and visible
        assert corner(true, x, y) == MISSED_COLOR
    tinted = 0.6 * np.array(CANVAS_COLOR) + 0.4 * np.array(MISSED_COLOR)
    assert at(true, 20, 12) == pytest.approx(tinted, abs=1)
    hidden = true[7 * ZOOM : 17 * ZOOM, 11 * ZOOM : 13 * ZOOM].reshape(-1, 3)
    assert len(np.unique(hidden, axis=0)) == 2  # stripes
    assert at(true, 29, 12) == CANVAS_COLOR
    assert count(guess, MISSED_COLOR) == count(guess, INVENTED_COLOR) == 0


def test_an_invented_object_is_magenta_in_the_prediction_alone():
    truth = street(NEAR)
    ghost = Thing("bus", 3, (20, 2, 30, 12), 15.0)
    predicted = with_instance(truth, ghost, visible=np.ones((24, 32), bool))
    true, guess = draw_errors(None, truth, predicted, errors(invented=(ghost.id,)))
    assert corner(guess, 20, 8) == corner(guess, 20, 10) == INVENTED_COLOR  # below the label
    assert at(guess, 25, 8) == pytest.approx(0.6 * np.array(CANVAS_COLOR) + 0.4 * np.array(INVENTED_COLOR), abs=1)
    assert count(true, INVENTED_COLOR) == count(true, MISSED_COLOR) == count(guess, MISSED_COLOR) == 0


def test_what_is_right_has_a_pale_outline_and_no_tint():
    scene = street(NEAR)
    for picture in draw_errors(None, scene, scene, errors()):
        assert corner(picture, 2, 4) == corner(picture, 8, 4) == RIGHT_COLOR
        assert at(picture, 8, 12) == CANVAS_COLOR


def test_fully_hidden_objects_that_are_not_scored_are_not_drawn():
    alone = street(NEAR)
    truth = with_instance(alone, Thing("car", 9, (18, 10, 28, 20), 30.0))
    true, _ = draw_errors(None, truth, alone, errors())
    assert np.array_equal(true, draw_errors(None, alone, alone, errors())[0])


def test_a_wrong_order_is_an_arrow_from_the_occluder_to_the_hidden_object():
    truth = street(NEAR, FAR)
    true, guess = draw_errors(None, truth, truth, errors(order_errors=((NEAR.id, FAR.id),)))
    # From the middle of the near car (8, 12) to that of what is seen of the far one (20, 12).
    rows, columns = np.nonzero(near(true, WRONG_ORDER_COLOR))
    assert abs(np.median(rows) - 12 * ZOOM) <= ZOOM
    assert columns.min() == pytest.approx(8 * ZOOM, abs=2 * ZOOM)
    assert columns.max() == pytest.approx(20 * ZOOM, abs=2 * ZOOM)
    heights = {side: np.ptp(rows[np.abs(columns - x * ZOOM) < 2.5 * ZOOM]) for side, x in (("start", 9), ("tip", 19))}
    assert heights["tip"] > heights["start"]  # the head of the arrow is at the hidden object
    assert not near(guess, WRONG_ORDER_COLOR).any()


def test_pictures_are_drawn_over_the_photograph_and_leave_it_as_it_is():
    scene = street(NEAR)
    image = np.full((24, 32, 3), (200, 0, 0), np.uint8)
    given_image = image.copy()
    true, _ = draw_errors(image, scene, scene, errors())
    red, green, blue = at(true, 29, 12)
    assert red > green == blue  # faded, but of the photograph's colour
    assert np.array_equal(image, given_image)


def test_large_images_are_shrunk_to_the_width_of_the_page():
    wide = CameraScene(camera(1920, 1080), 0, np.zeros((1080, 1920), np.uint16), np.full((1080, 1920), np.nan))
    for picture in draw_errors(None, wide, wide, errors()):
        assert picture.shape == (540, MAX_WIDTH_PX, 3)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(20, 32, 3\).*\(24, 32, 3\)"):
        draw_errors(np.zeros((20, 32, 3), np.uint8), street(), street(), errors())


def test_objects_are_named_by_the_classes_of_their_scene():
    animals = ClassList.of("animals", {}, {24: "zebra"})
    whole = np.ones((24, 32), bool)
    assert label_text(instance(Thing("person", 1, (0, 0, 9, 9), 5.0), whole, whole), animals) == "zebra 5 m"


BINS = [
    {"from": 0.0, "to": 0.1, "cells": 800, "probability": 0.05, "occupied": 0.25},
    {"from": 0.5, "to": 0.6, "cells": 200, "probability": 0.5, "occupied": 0.5},
    {"from": 0.9, "to": 1.0, "cells": 0, "probability": math.nan, "occupied": math.nan},
]


def test_dots_of_a_reliability_curve_are_where_they_belong():
    svg = ElementTree.fromstring(reliability_chart(BINS, "mine"))
    line = svg.find("line[@class='honest']").attrib
    left, right, bottom, top = (float(line[name]) for name in ("x1", "x2", "y1", "y2"))
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in svg.findall("circle")]
    assert len(dots) == 2  # a bin without cells has no dot
    for (x, y), (probability, occupied) in zip(dots, ((0.05, 0.25), (0.5, 0.5))):
        assert (x - left) / (right - left) == pytest.approx(probability, abs=1e-3)
        assert (bottom - y) / (bottom - top) == pytest.approx(occupied, abs=1e-3)
    heights = [float(bar.get("height")) for bar in svg.findall("rect")]
    assert heights == pytest.approx([heights[0], heights[0] / 4, 0.0], abs=0.1)  # 800, 200 and no cells
    assert "mine" in svg.get("aria-label")


def test_the_axis_title_of_a_reliability_curve_stands_apart_from_its_numbers():
    """The numbers are at most four signs wide, each 0.6 of the font's 13 px; the title's letters reach 4 px down."""
    svg = ElementTree.fromstring(reliability_chart(BINS, "mine"))
    end = min(float(text.get("x")) for text in svg.findall("text") if text.get("text-anchor") == "end")
    title = next(text for text in svg.findall("text") if text.text == "occupied share")
    baseline = float(re.search(r"translate\((\S+)", title.get("transform"))[1])
    assert end - 4 * 0.6 * 13 > baseline + 4


def test_intervals_are_drawn_on_one_axis():
    estimates = [Estimate("a", 10.0, 8.0, 12.0), Estimate("<b>", 20.0), Estimate("c", math.nan)]
    svg = ElementTree.fromstring(interval_chart("APQ", estimates, 1))
    dots = [float(dot.get("cx")) for dot in svg.findall("circle")]
    lines = [line for line in svg.findall("line") if "interval" in line.get("class")]
    assert len(dots) == 2
    assert len(lines) == 1  # where there is no interval there is no line
    low, high = float(lines[0].get("x1")), float(lines[0].get("x2"))
    assert (low + high) / 2 == pytest.approx(dots[0], abs=0.11)
    assert (dots[1] - dots[0]) / (high - low) == pytest.approx(10 / 4, abs=0.01)
    texts = [text.text for text in svg.findall("text")]
    assert {"a", "<b>", "c", "10.0", "20.0", "–"} <= set(texts)


def test_intervals_of_nothing_are_refused():
    with pytest.raises(ValueError, match="no value of APQ"):
        interval_chart("APQ", [Estimate("a", math.nan)], 1)


@given(st.floats() | st.none() | st.integers(), st.integers(0, 3))
def test_no_number_is_written_that_is_none(value, digits):
    text = figure_text(value, digits)
    assert not re.search("nan|inf|None", text)
    assert (text == "–") == (value is None or not math.isfinite(value))
    assert not re.fullmatch(r"−0(\.0*)?", text)


def test_numbers_as_they_are_read():
    assert figure_text(12345.678, 1) == "12,345.7"
    assert figure_text(-2.0, 1) == "−2.0"
    assert figure_text(2.0, 1, sign="+") == "+2.0"
    assert interval_text(-1.0, 2.5, 1) == "−1.0 to 2.5"
    assert interval_text(math.nan, 2.5, 1) == ""
    assert symbol("  APQ_T^V <x>") == "APQ<sub>T</sub><sup>V</sup> &lt;x&gt;"
    assert symbol("mIoU_total") == "mIoU<sub>total</sub>"
    assert symbol("hidden_cell_recall") == "hidden cell recall"


def test_every_headline_figure_has_a_meaning():
    assert all(row.meaning.endswith(".") for row in ROWS)
    assert len({row.path for row in ROWS}) == len(ROWS)


def test_meanings_are_given_for_what_is_shown(tmp_path):
    text, shown = page(tmp_path, [results("mine", 20.0, shape={"simplicity": 0.8, "simplicity_truth": 0.7})])
    words = " ".join(" ".join(shown.text).split())
    assert "simplicity: of the truth" in words
    meanings = {row.path: row.meaning for row in ROWS}
    assert meanings["panoptic.strict.APQ"] in words
    assert meanings["depth.ADErr"] not in text


class Page(HTMLParser):
    """Cells of all tables of a page as text, its pictures, and whether its tags are balanced."""

    VOID = frozenset({"meta", "img", "br", "rect", "line", "circle", "polyline"})

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.images, self.scopes, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "th":
            self.scopes.append(dict(attributes).get("scope"))
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert tag in self.VOID or self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text.append(data)
        if self.open and ({"td", "th"} & set(self.open)):
            self.rows[-1][-1] += f" {data.strip()}"

    def row(self, start):
        """Cells of the first row that starts with that text, white space joined."""
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        return next(row for row in rows if row and row[0].startswith(start))


NAME = "<script>alert(1)</script>"


def results(name, apq, units=20, **more):
    """A result dictionary with the APQ of the resamples up to two above and below."""
    spread = np.linspace(-2, 2, 41)
    return {
        "name": name,
        "frames": 4,
        "images": 16,
        "data": {
            "sequences": units,
            "frames": 40,
            "images": 160,
            "classes": "AmodalSynthDrive",
            "fingerprint": "f00d" * 8,
        },
        "rules": {"min_visible_px": 1, "iou_gate": 0.5},
        "panoptic": {"strict": {"APQ": apq}},
        "masks": {"AIoU": 30.0, "OIoU": math.nan},
        "excluded": {"truth_fully_hidden": 12345, "prediction_in_void": 0},
        "excluded_places": {"truth_fully_hidden": ["street & co, frame 3, camera 'front', instance 26001"]},
        "per_occlusion": {"0%": {"objects": 7, "AIoU": 60.0}, "0-25%": {"objects": 3, "AIoU": 41.25, "OIoU": 22.5}},
        "per_condition": {"weather": {"fog": {"frames": 2, "panoptic.strict.APQ": 11.5}}},
        "occupancy": {"hidden_ece": 0.125, "hidden_brier": 0.25, "reliability": BINS},
        "intervals": {
            "level": 95,
            "resamples": 41,
            "unit": "sequence",
            "units": units,
            "figures": {"panoptic": {"strict": {"APQ": [apq - 1.9, apq + 1.9]}}},
        },
        "replicates": {"panoptic.strict.APQ": (apq + spread).tolist()},
        **more,
    }


def page(tmp_path, runs, baselines=(), reread=None):
    evaluation = Evaluation({run["name"]: run for run in runs}, {b["name"]: b for b in baselines}, reread)
    path = write_page(evaluation, tmp_path / "new" / "page.html")
    text = path.read_text(encoding="utf-8")
    without_pictures = re.sub(r'"data:image/jpeg;base64,[^"]*"', '"data:"', text)
    assert not re.search(r"https?:|//|src=\"(?!data:)|@import|url\(", without_pictures)
    return text, Page(text)


def test_runs_stand_side_by_side_with_intervals_and_differences(tmp_path):
    _, shown = page(tmp_path, [results("mine", 20.0), results(NAME, 24.0)], [results("amodal := visible", 19.0)])
    cells = shown.row("APQ (strict)")
    assert cells[1] == "%"
    assert cells[2] == "20.0 18.1 to 21.9"
    # The resamples of both runs go up and down together, so the difference is 4 in every one.
    assert cells[3] == "24.0 22.1 to 25.9 +4.0 (4.0 to 4.0) *"
    assert cells[4] == "19.0 17.1 to 20.9 −1.0 (−1.0 to −1.0) *"
    assert shown.row("AIoU")[2:4] == ["30.0", "30.0 +0.0"]


def test_the_best_of_a_row_is_marked_and_only_where_methods_differ(tmp_path):
    text, _ = page(tmp_path, [results("mine", 20.0), results("other", 24.0)])
    assert [cell.strip() for cell in re.findall(r'class="number best"><b>([^<]*)', text)] == ["24.0"]


def test_what_was_left_out_is_counted_with_its_places_for_every_run(tmp_path):
    other = results(NAME, 24.0, excluded={"prediction_outside_image": 3}, excluded_places={})
    _, shown = page(tmp_path, [results("mine", 20.0), other], [results("boxes", 1.0)])
    place = "street & co, frame 3, camera 'front', instance 26001"
    assert shown.row("cause") == ["cause", "mine", NAME, "boxes", "first places"]
    assert shown.row("truth fully hidden") == ["truth fully hidden", "12,345", "0", "12,345", place]
    assert shown.row("prediction outside image")[1:4] == ["0", "3", "0"]
    assert "Looked for, and not there: prediction in void." in " ".join(shown.text)


def test_the_head_says_what_was_scored_and_what_the_intervals_rest_on(tmp_path):
    _, shown = page(tmp_path, [results("mine", 20.0, source="weights <mine>"), results("other", 24.0)])
    assert shown.row("source")[1:] == ["weights <mine>", "–"]
    assert shown.row("frames")[1] == "40"
    assert shown.row("classes")[1] == "AmodalSynthDrive"
    assert shown.row("rules")[1] == "min visible px 1, iou gate 0.5"
    assert shown.row("intervals")[1] == "95 %, from 41 bootstrap resamples of 20 sequences"


@pytest.mark.parametrize(
    ("units", "why"), [(1, "they need at least two sequences"), (5, "no resamples were asked for")]
)
def test_without_intervals_the_page_says_why(units, why, tmp_path):
    alone = results("mine", 20.0, units)
    del alone["intervals"]
    _, shown = page(tmp_path, [alone])
    assert shown.row("intervals")[1] == f"none: {why}"
    assert shown.row("APQ (strict)")[2] == "20.0"


def test_differences_of_few_sequences_are_not_marked(tmp_path):
    _, shown = page(tmp_path, [results("mine", 20.0, 19), results("other", 24.0, 19)])
    assert shown.row("APQ (strict)")[3] == "24.0 22.1 to 25.9 +4.0 (4.0 to 4.0)"
    assert shown.row("intervals")[1].endswith("only 19 sequences: intervals are too narrow, differences are not marked")


def test_no_end_of_a_marked_difference_is_rounded_to_zero(tmp_path):
    """0.04 points more in every resample: with one decimal it would read "0.0 to 0.0"."""
    mine, other = results("mine", 20.0), results("other", 20.5)
    other["replicates"]["panoptic.strict.APQ"] = (np.array(mine["replicates"]["panoptic.strict.APQ"]) + 0.04).tolist()
    _, shown = page(tmp_path, [mine, other])
    assert shown.row("APQ (strict)")[3].endswith("+0.50 (0.04 to 0.04) *")


def test_what_is_not_known_is_a_dash_and_what_no_run_has_is_not_there(tmp_path):
    mine = results("mine", 20.0)
    bare = {name: mine[name] for name in ("frames", "images", "data", "rules")}
    bare["intervals"] = {"resamples": 41}
    text, shown = page(tmp_path, [mine], [{**bare, "name": "bare", "order": {"accuracy": 50.0}}])
    assert shown.row("OIoU")[2:] == ["–", "–"]
    assert shown.row("order accuracy")[2:] == ["–", "50.0"]
    assert not re.search(r"\b(nan|inf|None)\b", " ".join(shown.text))
    assert "RMSE hidden" not in text


def test_breakdowns_hold_every_bin_and_figure(tmp_path):
    text, shown = page(tmp_path, [results("mine", 20.0), results("other", 24.0)])
    assert shown.row("0-25%") == ["0-25%", "41.2", "41.2", "22.5", "22.5"]  # AIoU and OIoU of both runs
    own = [row for row in shown.rows if [" ".join(c.split()) for c in row] == ["0%", "7", "60.0", "–"]]
    assert len(own) == 2  # all figures of each run: objects, AIoU, OIoU
    assert "By weather" in text
    assert shown.row("fog")[1:] == ["11.5", "11.5"]


def test_figures_of_no_other_table_are_shown_too(tmp_path):
    mine = results("mine", 20.0, tracking={"visible_recall": 42.25, "visible_objects": 1977})
    deep = results("deep", 20.0, adiw={"by_visibility": {">75%": {"raw": {"RMSE": 1.234}}}})
    _, shown = page(tmp_path, [mine, deep])
    assert shown.row("visible recall") == ["visible recall", "tracking", "42.2", "–"]
    assert shown.row("visible objects") == ["visible objects", "tracking", "1,977", "–"]
    assert shown.row("RMSE") == ["RMSE", "adiw by visibility >75% raw", "–", "1.23"]


def test_every_run_has_a_reliability_curve_with_its_scores(tmp_path):
    text, shown = page(tmp_path, [results("mine", 20.0), results(NAME, 24.0)])
    assert text.count("Reliability of") == 2
    assert "ECE 0.125, Brier 0.250, NLL –" in " ".join(" ".join(shown.text).split())


def test_names_from_data_are_text(tmp_path):
    worst = [{"sequence": NAME, "index": 1, "camera": "<b>", "missed": [1], "invented": [], "order_errors": []}]
    strange = results(NAME, 1.0, worst=worst, per_class={NAME: {"APQ": 1.0}}, excluded={NAME: 1})
    text, shown = page(tmp_path, [strange])
    assert "<script" not in text
    assert "<b>," not in text
    assert NAME in " ".join(shown.text)


def test_the_worst_images_are_pictures_with_captions(tmp_path):
    truth = street(NEAR, FAR)
    wrong = errors(missed=(FAR.id,), order_errors=())
    item = {**vars(wrong), "missed": [FAR.id], "invented": [], "order_errors": []}

    def reread(run, listed):
        assert run == "mine"
        assert listed == [wrong]
        yield WorstImage(wrong, None, truth, without(truth, FAR.id))

    _, shown = page(tmp_path, [results("mine", 20.0, worst=[item])], reread=reread)
    caption = "street 1, frame 7, front: 1 missed, 0 invented, 0 in the wrong order"
    assert [image["alt"] for image in shown.images] == [f"Truth of {caption}", f"Prediction of {caption}"]
    assert caption in shown.text
    drawn, _ = draw_errors(None, truth, without(truth, FAR.id), wrong)
    encoded = np.frombuffer(base64.b64decode(shown.images[0]["src"].split(",")[1]), np.uint8)
    seen = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert np.abs(seen - drawn).mean() < 6  # JPEG
    assert shown.images[0]["src"].startswith("data:image/jpeg;base64,")


def test_where_images_are_not_at_hand_their_places_are_listed(tmp_path):
    item = {**vars(errors()), "missed": [26001, 26002], "invented": [24001], "order_errors": [[26001, 26002]]}
    _, shown = page(tmp_path, [results("mine", 20.0, worst=[item])])
    assert shown.images == []
    assert "street 1, frame 7, front: 2 missed, 1 invented, 1 in the wrong order" in shown.text


def test_a_page_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "new").write_text("a file where the folder should be")
    with pytest.raises(DatasetError, match=re.escape(str(tmp_path / "new"))):
        page(tmp_path, [results("mine", 20.0)])


def test_tables_say_what_their_headers_are_for(tmp_path):
    _, shown = page(tmp_path, [results("mine", 20.0), results("other", 24.0)])
    assert set(shown.scopes) == {"col", "row", "colgroup"}


def test_an_edge_between_hidden_objects_can_be_drawn():
    truth = street(NEAR)
    hidden = Thing("car", 9, (18, 10, 28, 20), 30.0)
    truth = with_instance(truth, hidden)
    truth.order = order([(NEAR.id, hidden.id)])
    true, _ = draw_errors(None, truth, truth, errors(order_errors=((NEAR.id, hidden.id),)))
    assert near(true, WRONG_ORDER_COLOR).any()
