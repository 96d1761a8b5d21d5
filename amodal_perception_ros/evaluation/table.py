"""Which figures head a report, and a plain-text table that compares methods by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amodal_perception_ros.evaluation.bootstrap import MIN_PARTS

UP, DOWN, BEST, DIFFERS = "↑", "↓", "●", "*"
"""Signs of tables and pages: which direction is better, the best of a row, a difference that is no chance."""


@dataclass(frozen=True)
class Row:
    """A headline figure.

    Attributes:
        title: what it is called; parts of the figure above are indented by two spaces.
        path: where it is in `Evaluator.results()`, its keys joined by dots.
        unit: "%", "m", "rad", "0..1", "1" (a ratio) or "n" (a count).
        better: "up", "down", or "" where neither is better.
        meaning: what it says, in one line; the whole rules are in docs/metrics.md.
    """

    title: str
    path: str
    unit: str
    better: str
    meaning: str

    @property
    def digits(self) -> int:
        """Decimals to print."""
        return {"%": 1, "m": 2, "rad": 2, "0..1": 3, "1": 3, "n": 0}[self.unit]


ROWS: tuple[Row, ...] = (
    Row(
        "APQ (strict)",
        "panoptic.strict.APQ",
        "%",
        "up",
        "Amodal panoptic quality: mean over classes of IoU summed over matches, by all true and predicted "
        "segments; visible and hidden parts of things count, and so does every unmatched object.",
    ),
    Row("  APQ_S", "panoptic.strict.APQ_S", "%", "up", "APQ of the stuff classes alone."),
    Row(
        "  APQ_T",
        "panoptic.strict.APQ_T",
        "%",
        "up",
        "APQ of the thing classes alone, visible and hidden parts together.",
    ),
    Row("  APQ_T^V", "panoptic.strict.APQ_T_V", "%", "up", "Quality of the visible parts of things."),
    Row("  APQ_T^O", "panoptic.strict.APQ_T_O", "%", "up", "Quality of the hidden (occluded) parts of things."),
    Row(
        "APC (strict)",
        "panoptic.strict.APC",
        "%",
        "up",
        "Amodal parsing coverage: IoU of the best prediction of every true segment, weighted by its area, "
        "mean over classes.",
    ),
    Row(
        "APQ (reference)",
        "panoptic.reference.APQ",
        "%",
        "up",
        "APQ as the public AmodalSynthDrive script computes it, which misses many errors; only for comparison"
        " with published figures.",
    ),
    Row("  APQ_T^O", "panoptic.reference.APQ_T_O", "%", "up", "Quality of hidden parts as that script computes it."),
    Row("APC (reference)", "panoptic.reference.APC", "%", "up", "APC as that script computes it."),
    Row("AP_A", "instance.AP_A", "%", "up", "COCO average precision of amodal masks, mean over IoU 0.50 to 0.95."),
    Row("AP_V", "instance.AP_V", "%", "up", "COCO average precision of visible masks, mean over IoU 0.50 to 0.95."),
    Row(
        "AP_AV",
        "instance.AP_AV",
        "%",
        "up",
        "Average precision where amodal and visible IoU must both reach the threshold.",
    ),
    Row(
        "AP_IV @ 0.5",
        "instance.AP_IV50",
        "%",
        "up",
        "Average precision of the hidden masks of occluded objects at IoU 0.5.",
    ),
    Row("AIoU", "masks.AIoU", "%", "up", "Mean IoU of amodal masks over all scored objects; a missed object counts 0."),
    Row(
        "VIoU", "masks.VIoU", "%", "up", "Mean IoU of visible masks over all scored objects; a missed object counts 0."
    ),
    Row(
        "OIoU", "masks.OIoU", "%", "up", "Mean IoU of hidden masks over all occluded objects; a missed object counts 0."
    ),
    Row("AIoU, matched", "masks.AIoU_matched", "%", "up", "Mean IoU of amodal masks over the matched objects only."),
    Row(
        "OIoU, matched",
        "masks.OIoU_matched",
        "%",
        "up",
        "Mean IoU of hidden masks over the matched occluded objects only.",
    ),
    Row(
        "occluded px recall",
        "masks.occluded_recall",
        "%",
        "up",
        "Share of all truly hidden pixels of objects that their matched prediction covers.",
    ),
    Row(
        "occluded px precision",
        "masks.occluded_precision",
        "%",
        "up",
        "Share of all pixels predicted as hidden that are hidden parts of the matched object.",
    ),
    Row("object recall", "masks.recall", "%", "up", "Share of the scored objects that have a matched prediction."),
    Row(
        "score, ECE",
        "calibration.score_ece",
        "0..1",
        "down",
        "Expected calibration error of the scores as probabilities of a match: mean distance between the scores of "
        "ten bins and the share of them that is matched, weighted by predictions.",
    ),
    Row("mIoU", "semantic.mIoU", "%", "up", "Mean IoU over classes of the visible surface."),
    Row(
        "mIoU_total",
        "semantic.mIoU_total",
        "%",
        "up",
        "Mean IoU over classes of the visible surface and the hidden parts of things together.",
    ),
    Row(
        "order accuracy",
        "order.accuracy",
        "%",
        "up",
        "Share of the true pairs 'A hides B' with both objects matched that are predicted so.",
    ),
    Row(
        "order recall",
        "order.recall",
        "%",
        "up",
        "Share of all true pairs 'A hides B' that are predicted so; a pair with a missed object counts 0.",
    ),
    Row("  pairs judged", "order.pairs", "n", "", "Number of true pairs whose two objects are matched."),
    Row(
        "level accuracy",
        "order.level_accuracy",
        "%",
        "up",
        "Share of the matched objects on the right occlusion level.",
    ),
    Row(
        "ADErr",
        "depth.ADErr",
        "m",
        "down",
        "Amodal depth error: geometric mean over the occlusion levels of the RMSE of each level's depth.",
    ),
    Row(
        "ADErr, weighted",
        "depth.ADErr_weighted",
        "m",
        "down",
        "The same RMSEs, averaged with their numbers of pixels as weights.",
    ),
    Row("RMSE visible", "depth.RMSE_vis", "m", "down", "Root mean square depth error of visible surfaces."),
    Row(
        "RMSE hidden",
        "depth.RMSE_hidden",
        "m",
        "down",
        "Root mean square depth error of the hidden parts of objects; where an object is missed, the "
        "predicted visible surface answers.",
    ),
    Row(
        "ADIW RMSE",
        "adiw.raw.RMSE",
        "m",
        "down",
        "Root mean square depth error of an object's hidden part, mean over objects (as Amodal Depth In the "
        "Wild does, here in metres).",
    ),
    Row(
        "  delta < 1.25",
        "adiw.raw.delta_1.25",
        "%",
        "up",
        "Share of an object's hidden pixels whose depth is right within a factor of 1.25, mean over objects.",
    ),
    Row(
        "  aligned RMSE",
        "adiw.aligned.RMSE",
        "m",
        "down",
        "The same RMSE after scale and shift are fitted to the true depth of the object's visible part.",
    ),
    Row(
        "simplicity",
        "shape.simplicity",
        "1",
        "",
        "Mean sqrt(4 pi area) / perimeter of the predicted amodal masks of matched objects: 1 is a disc, less"
        " is more ragged; best where it equals the truth's.",
    ),
    Row("  of the truth", "shape.simplicity_truth", "1", "", "The same of the true masks of these objects."),
    Row(
        "convexity",
        "shape.convexity",
        "1",
        "",
        "Mean area of the predicted amodal masks of matched objects over that of their convex hulls; best "
        "where it equals the truth's.",
    ),
    Row("  of the truth", "shape.convexity_truth", "1", "", "The same of the true masks of these objects."),
    Row(
        "hidden cells, recall",
        "occupancy.hidden_recall",
        "%",
        "up",
        "Share of the hidden cells under things that are predicted occupied; unknown counts as missed.",
    ),
    Row(
        "hidden cells, precision",
        "occupancy.hidden_precision",
        "%",
        "up",
        "Share of the hidden cells predicted occupied that are occupied.",
    ),
    Row(
        "hidden cells, ECE",
        "occupancy.hidden_ece",
        "0..1",
        "down",
        "Expected calibration error of hidden cells: mean distance of the curve below from the diagonal, "
        "weighted by cells.",
    ),
    Row(
        "hidden cells, Brier",
        "occupancy.hidden_brier",
        "0..1",
        "down",
        "Mean square of predicted probability minus occupancy (0 or 1) over hidden cells.",
    ),
    Row(
        "3-D objects, mAP",
        "objects.mAP",
        "%",
        "up",
        "Average precision of boxes by the distance of their centres seen from above (nuScenes), mean over 0.5, 1, 2 "
        "and 4 m and over classes.",
    ),
    Row(
        "  within 2 m",
        "objects.recall",
        "%",
        "up",
        "Share of the objects, fully hidden ones that were seen before included, with a box of their class within 2 m.",
    ),
    Row(
        "  mATE",
        "objects.mATE",
        "m",
        "down",
        "Mean distance of those boxes' centres from the true ones, seen from above, mean over classes.",
    ),
    Row(
        "  mASE",
        "objects.mASE",
        "0..1",
        "down",
        "1 - IoU of those boxes and the true ones, put upon each other, mean over classes.",
    ),
    Row(
        "  mAOE, half turn",
        "objects.mAOE_half_turn",
        "rad",
        "down",
        "Mean angle between their headings where front and back are one, mean over classes.",
    ),
    Row(
        "hidden objects, recall",
        "tracking.hidden_recall",
        "%",
        "up",
        "Share of the objects that no camera sees any more for which a box is still kept within 2 m, frame by frame.",
    ),
    Row(
        "id switches",
        "tracking.id_switches",
        "n",
        "down",
        "How often an object is found under another identity than the last time.",
    ),
    Row(
        "invariant violations",
        "invariants.violations",
        "n",
        "down",
        "Contradictions within the predictions, such as a visible part outside its amodal mask.",
    ),
)
"""The figures that tables and comparisons show, in their order."""


def look_up(results: dict[str, Any], path: str) -> Any | None:
    """Return what is at a path of keys joined by dots, or None; a key may itself hold a dot ("delta_1.25")."""
    if path in results:
        return results[path]
    for key, below in results.items():
        if isinstance(below, dict) and path.startswith(f"{key}."):
            found = look_up(below, path[len(key) + 1 :])
            if found is not None:
                return found
    return None


def intervals_at(results: dict[str, Any], path: str) -> Any | None:
    """Return the confidence interval [low, high] of a figure, or the tree of those below a path; None without."""
    return look_up(results.get("intervals", {}).get("figures", {}), path)


def counted(number: int, what: str) -> str:
    """Return a number with its noun, in the plural where it is one."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def part_name(parts: int, frames: int, images: int) -> str:
    """Return what the parts of a set are called: "image" or "frame" where each has just one, else "sequence"."""
    if frames > parts:
        return "sequence"
    return "frame" if images > frames else "image"


def interval_note(results: dict[str, Any]) -> str:
    """Return what the confidence intervals of some results rest on, or why there are none."""
    size = results["data"]
    part = part_name(size["sequences"], size["frames"], size["images"])
    made = results.get("intervals")
    if not made:
        few = size["sequences"] < 2
        return "none: " + (f"they need at least two {part}s" if few else "no resamples were asked for")
    note = (
        f"{made['level']} %, from {counted(made['resamples'], 'bootstrap resample')} of {made['units']} {made['unit']}s"
    )
    if made["units"] < MIN_PARTS:
        note += f"; only {made['units']} {made['unit']}s: intervals are too narrow, differences are not marked"
    return note


def format_table(results: dict[str, dict[str, Any]]) -> str:
    """Return a table with a row per figure and a column per method, and a line that explains its signs.

    Args:
        results: method name -> `Evaluator.results()`. Figures that no method has are left out; the best value of a
            row is marked where methods differ. Where there are intervals, half their width stands behind the value.
    """
    names = list(results)
    lines = [["", "unit", *names]]
    for row in ROWS:
        values = [look_up(results[name], row.path) for name in names]
        if any(value is not None for value in values):
            halves = [_half_width(results[name], row.path) for name in names]
            lines.append([row_title(row), row.unit, *_cells(row, values, halves)])
    legend = [f"{UP} higher is better", f"{DOWN} lower is better", f"{BEST} best of the row", "- no data"]
    if any("intervals" in result for result in results.values()):
        legend.append("± half the width of the confidence interval")
    return "\n".join([align(lines), "", ", ".join(legend)])


def row_title(row: Row) -> str:
    """Return the title of a row with the arrow that says which direction is better."""
    return " ".join([row.title, *{"up": UP, "down": DOWN, "": ""}[row.better]])


def align(lines: list[list[str]]) -> str:
    """Return lines of equally many cells as text: a rule below the first, two columns of words, the others numbers."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "  ".join(cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths))).rstrip()
        for line in ruled
    )


def _half_width(results: dict[str, Any], path: str) -> float | None:
    interval = intervals_at(results, path)
    return None if interval is None else (interval[1] - interval[0]) / 2.0


def _cells(row: Row, values: list[float | None], halves: list[float | None]) -> list[str]:
    texts = ["-" if value is None else f"{value:.{row.digits}f}" for value in values]
    known = [float(text) for text in texts if text != "-"]
    marks = [" "] * len(texts)
    if row.better and len(set(known)) > 1:
        best = max(known) if row.better == "up" else min(known)
        marks = [BEST if text != "-" and float(text) == best else " " for text in texts]
    spreads = ["" if half is None or row.unit == "n" else f" ±{half:.{row.digits}f}" for half in halves]
    return [text + mark + spread for text, mark, spread in zip(texts, marks, spreads)]
