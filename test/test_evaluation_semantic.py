"""Mean IoU with and without the hidden parts, on drawings small enough to work out by hand."""

import pytest
from evaluation_scenes import drawn, letter_id, without

from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.semantic import SemanticIoU
from amodal_perception_ros.evaluation.pairs import Rules, pair_scenes


def semantic(*pairs, **rules):
    metric = SemanticIoU()
    for truth, predicted in pairs:
        metric.add(pair_scenes(decode(truth), decode(predicted), Rules(**rules)))
    return metric


def test_example_of_the_docstring():
    truth = drawn("CCCCCCTTTTTT....", "T>C", C="      hhhh")
    predicted = drawn("CCCCCCTTTTTT....", "T>C", C="      hh")
    metric = semantic((truth, predicted))
    assert metric.results() == {"mIoU": 100, "mIoU_total": pytest.approx(100 * 2.8 / 3)}
    assert metric.breakdown("class")["car"] == {"IoU": 100, "IoU_total": pytest.approx(80)}
    assert semantic((truth, truth)).results() == {"mIoU": 100, "mIoU_total": 100}


def test_visible_confusion_with_unlabelled_ground():
    """Road 4 of 4 + 1 px; sky 2 of 4 px; unlabelled true pixels are not scored, a predicted one misses."""
    truth, predicted = drawn("....~~~~  "), drawn("....~~. ~~")
    rows = semantic((truth, predicted)).breakdown("class")
    assert {name: row["IoU"] for name, row in rows.items()} == {"road": 80, "sky": 50}
    assert all(row["IoU_total"] == row["IoU"] for row in rows.values())


def test_invented_and_missed_hidden_parts_cost():
    """The car 4 + 2 px, found without its hidden part; the bike whole, but said to reach 4 px behind the truck."""
    truth = drawn("CCCCTTTTBBBB", "T>C", C="    hh")
    predicted = drawn("CCCCTTTTBBBB", "T>B", B="    hhhh")
    rows = semantic((truth, predicted)).breakdown("class")
    assert rows["car"]["IoU_total"] == pytest.approx(100 * 4 / 6)
    assert rows["bike"]["IoU_total"] == 50
    assert rows["truck"] == {"IoU": 100, "IoU_total": 100}


def test_a_pixel_can_be_hidden_in_several_classes():
    truth = drawn("CCTTTTBB", "T>C T>B", C="  hh", B="  hhhh")
    assert semantic((truth, truth)).results() == {"mIoU": 100, "mIoU_total": 100}
    swapped = drawn("CCTTTTBB", "T>C T>B", C="  hhhh", B="  hh")
    rows = semantic((truth, swapped)).breakdown("class")
    assert rows["car"]["IoU_total"] == pytest.approx(100 * 4 / 6)
    assert rows["bike"]["IoU_total"] == pytest.approx(100 * 4 / 6)


def test_two_hidden_objects_of_a_class_count_once():
    """Two cars hidden behind the same truck: the union of their hidden masks is 3 px, of which 2 are found."""
    truth = drawn("CCTTTTDD", "T>C T>D", C="  hh", D="   hh")
    predicted = drawn("CCTTTTDD", "T>C", C="  hh")
    assert semantic((truth, predicted)).breakdown("class")["car"]["IoU_total"] == pytest.approx(100 * 6 / 7)


def test_a_class_behind_itself_is_not_judged():
    truth, predicted = drawn("CCDDDD..", "D>C", C="  hh"), drawn("CCDDDD..")
    assert semantic((truth, predicted)).results() == {"mIoU": 100, "mIoU_total": 100}


def test_what_is_behind_unlabelled_ground_is_not_judged():
    """Nobody knows what the surface is there, so the prediction may hide 2 px of the car behind it or not."""
    truth = drawn("CCTT  ..", "T>C", C="  hh")
    for predicted in (truth, drawn("CCTT  ..", "T>C", C="  hhhh")):
        assert semantic((truth, predicted)).breakdown("class")["car"]["IoU_total"] == 100


def test_what_only_left_out_objects_hide_is_not_judged():
    """A second car lies wholly behind the truck; a prediction that knows of it, or reaches there, loses nothing."""
    truth = drawn("CCTTTT..", "T>C T>D", C="  hh", D="    hh")
    for predicted in (truth, without(truth, letter_id("D")), drawn("CCTTTT..", "T>C", C="  hhhh")):
        assert semantic((truth, predicted)).results() == {"mIoU": 100, "mIoU_total": 100}


def test_ignored_predictions_hide_nothing():
    """The second car stands on unlabelled ground; what it is said to hide behind the truck is not judged either."""
    truth, predicted = drawn("C.TT  "), drawn("C.TTDD", "T>D", D="  hh")
    assert semantic((truth, predicted)).results() == {"mIoU": 100, "mIoU_total": 100}


def test_annotated_objects_without_surface_have_no_semantics():
    truth = drawn("CCTTTT..", "T>C", C="  hh")
    truth.labels[:] = 0
    assert semantic((truth, truth)).results() == {}
