"""What a calibration does, with curves before and after it, as one HTML page."""

from __future__ import annotations

from pathlib import Path

from amodal_perception_ros.datasets.files import write_file
from amodal_perception_ros.evaluation.calibrate import CalibrationResult
from amodal_perception_ros.viewing.charts import reliability_chart
from amodal_perception_ros.viewing.page import render


def write_calibration_page(result: CalibrationResult, path: Path) -> None:
    """Write the figures of a calibration and its reliability curves; the folder is made if it is missing.

    Raises:
        DatasetError: the file cannot be written.
    """
    kinds = [
        {
            "title": title,
            "charts": [
                (side, reliability_chart(row[side]["reliability"], f"{title} {side}", "count", "positive"))
                for side in ("before", "after")
            ],
        }
        for title, row in result.figures.items()
    ]
    page = render("calibration.html", title="Calibration", text=str(result), kinds=kinds)
    write_file(path, page.encode())
