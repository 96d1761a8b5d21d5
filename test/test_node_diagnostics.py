"""What the perception node says about itself, against known answers."""

from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from amodal_perception_ros.ros.diagnostics import STAGES, NodeHealth
from amodal_perception_ros.synchronizer import CAUSES

MS = 1_000_000
DOCUMENTATION = (Path(__file__).resolve().parents[1] / "docs" / "node.md").read_text()


def health():
    return NodeHealth({"front": "/front/image", "lidar": "/lidar/points"}, 1000 * MS, now_ns=0)


def report(node, now_ms):
    message, news = node.report("/node", Time(), now_ms * MS, {"engine": "torch"})
    status = message.status[0]
    return status, {pair.key: pair.value for pair in status.values}, news


def test_rate_and_age_of_a_sensor():
    node = health()
    for k in range(11):
        node.received("front", k * 100 * MS)
    _, values, _ = report(node, 1200)
    assert (values["rate_hz.front"], values["age_s.front"]) == ("10.00", "0.200")
    assert values["rate_hz.lidar"] == "0.00"
    assert "age_s.lidar" not in values
    assert report(node, 2001)[1]["rate_hz.front"] == "0.00"


def test_a_silent_sensor_is_missing_until_it_returns():
    node = health()
    node.received("front", 0)
    node.received("lidar", 900 * MS)
    status, _, news = report(node, 1500)
    assert status.level == DiagnosticStatus.WARN
    assert news == [status.message]
    assert status.message.startswith("front is missing: nothing on /front/image for 1.5 s")
    assert report(node, 1600)[2] == []
    node.received("front", 1700 * MS)
    status, _, news = report(node, 1800)
    assert (status.level, status.message, news) == (DiagnosticStatus.OK, "running", [])


def test_sensors_without_motion_compensation_are_counted_and_named():
    node = health()
    node.received("front", 0)
    node.received("lidar", 0)
    node.uncompensated("front", "no odometry")
    node.uncompensated("front", "no odometry")
    status, values, _ = report(node, 100)
    assert values["uncompensated.front"] == "2"
    assert status.message == "the motion of front is not compensated: no odometry"
    assert report(node, 200)[0].message == "running"
    assert "`uncompensated.<sensor>`" in DOCUMENTATION


def test_drops_warn_in_the_period_in_which_they_happen():
    node = health()
    node.received("front", 0)
    node.received("lidar", 0)
    node.dropped("corrupt_image", "the image is truncated")
    node.dropped("corrupt_image", "the image is truncated", 2)
    status, values, _ = report(node, 100)
    assert status.message == "the image is truncated"
    assert values["dropped.corrupt_image"] == "3"
    status, values, _ = report(node, 200)
    assert status.level == DiagnosticStatus.OK
    assert values["dropped.corrupt_image"] == "3"


def test_totals_counted_elsewhere_warn_only_for_faults():
    node = health()
    node.received("front", 0)
    node.received("lidar", 0)
    node.set_dropped({"decimated": 50, "unmatched": 7}, CAUSES)
    status, values, _ = report(node, 100)
    assert status.level == DiagnosticStatus.OK
    assert (values["dropped.decimated"], values["dropped.unmatched"]) == ("50", "7")
    node.set_dropped({"decimated": 60, "late": 1}, CAUSES)
    status, values, _ = report(node, 200)
    assert "'late'" in status.message
    assert values["dropped.decimated"] == "60"
    node.set_dropped({"decimated": 60, "late": 1}, CAUSES)
    assert report(node, 300)[0].level == DiagnosticStatus.OK


def test_latencies_are_median_and_95th_percentile():
    node = health()
    for k in range(101):
        node.latency("tick", float(k))
    _, values, _ = report(node, 100)
    assert (values["latency_ms.tick.median"], values["latency_ms.tick.p95"]) == ("50.000", "95.000")
    assert "latency_ms.fusion.median" not in values


@pytest.mark.parametrize("word", [*STAGES, *CAUSES])
def test_documentation_names_every_stage_and_cause(word):
    assert f"`{word}`" in DOCUMENTATION
