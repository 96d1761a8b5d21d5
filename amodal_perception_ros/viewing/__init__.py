"""Pictures and reports of what was perceived (or of the truth): overlays, bird's-eye views, an HTML page."""

from amodal_perception_ros.viewing.bev_picture import draw_bev
from amodal_perception_ros.viewing.overlay import draw_overlay
from amodal_perception_ros.viewing.report import Tick, write_report

__all__ = ["Tick", "draw_bev", "draw_overlay", "write_report"]
