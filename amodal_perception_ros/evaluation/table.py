"""A plain-text table that compares methods."""

from __future__ import annotations

from typing import Any

_ROWS: tuple[tuple[str, str, str], ...] = (
    ("APQ (strict)", "panoptic.strict.APQ", "% up"),
    ("  APQ_S", "panoptic.strict.APQ_S", "% up"),
    ("  APQ_T", "panoptic.strict.APQ_T", "% up"),
    ("  APQ_T^V", "panoptic.strict.APQ_T_V", "% up"),
    ("  APQ_T^O", "panoptic.strict.APQ_T_O", "% up"),
    ("APC (strict)", "panoptic.strict.APC", "% up"),
    ("APQ (reference)", "panoptic.reference.APQ", "% up"),
    ("  APQ_T^O", "panoptic.reference.APQ_T_O", "% up"),
    ("APC (reference)", "panoptic.reference.APC", "% up"),
    ("AP_A", "instance.AP_A", "% up"),
    ("AP_V", "instance.AP_V", "% up"),
    ("AP_AV", "instance.AP_AV", "% up"),
    ("AP_IV @ 0.5", "instance.AP_IV50", "% up"),
    ("AIoU", "masks.AIoU", "% up"),
    ("VIoU", "masks.VIoU", "% up"),
    ("OIoU", "masks.OIoU", "% up"),
    ("AIoU, matched", "masks.AIoU_matched", "% up"),
    ("OIoU, matched", "masks.OIoU_matched", "% up"),
    ("occluded px recall", "masks.occluded_recall", "% up"),
    ("occluded px precision", "masks.occluded_precision", "% up"),
    ("object recall", "masks.recall", "% up"),
    ("mIoU", "semantic.mIoU", "% up"),
    ("mIoU_total", "semantic.mIoU_total", "% up"),
    ("order accuracy", "order.accuracy", "% up"),
    ("  pairs judged", "order.pairs", "n"),
    ("level accuracy", "order.level_accuracy", "% up"),
    ("ADErr", "depth.ADErr", "m down"),
    ("ADErr, weighted", "depth.ADErr_weighted", "m down"),
    ("RMSE visible", "depth.RMSE_vis", "m down"),
    ("RMSE hidden", "depth.RMSE_hidden", "m down"),
    ("hidden cells, recall", "occupancy.hidden_recall", "% up"),
    ("hidden cells, ECE", "occupancy.hidden_ece", "0..1 down"),
    ("invariant violations", "invariants.violations", "n down"),
)


def format_table(results: dict[str, dict[str, Any]]) -> str:
    """Return a table with a row per metric and a column per method.

    Args:
        results: method name -> `Evaluator.results()`. Metrics that no method has are left out; the best value of a
            row is marked with an asterisk where methods differ.
    """
    names = list(results)
    lines = [["", "unit", *names]]
    for title, path, unit in _ROWS:
        values = [_lookup(results[name], path) for name in names]
        if any(value is not None for value in values):
            lines.append([title, unit.split()[0], *_cells(values, unit)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(names) + 2)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths))).rstrip()
        for line in lines
    )


def _lookup(result: dict[str, Any], path: str) -> float | None:
    node: Any = result
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    return node


def _cells(values: list[float | None], unit: str) -> list[str]:
    kind, _, direction = unit.partition(" ")
    digits = {"%": 1, "m": 2, "0..1": 3, "n": 0}[kind]
    texts = ["-" if value is None else f"{value:.{digits}f}" for value in values]
    known = [float(text) for text in texts if text != "-"]
    if not direction or len(set(known)) < 2:
        return [text + " " for text in texts]
    best = max(known) if direction == "up" else min(known)
    return [text + ("*" if text != "-" and float(text) == best else " ") for text in texts]
