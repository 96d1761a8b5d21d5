"""Rig frames from JSON: any rig of 1 to 8 cameras, and one clear error for every wrong key or file."""

import json

import cv2
import numpy as np
import pytest

from amodal_perception_ros.datasets.files import DatasetError
from amodal_perception_ros.datasets.rig_frame import read_rig_frame

CAM_TO_EGO = [[0, 0, 1, 1.5], [-1, 0, 0, 0.25], [0, -1, 0, 1.6], [0, 0, 0, 1]]
LIDAR_TO_EGO = [[0, 1, 0, 0.9], [-1, 0, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]]
POINTS = np.array([[1, 2, 3, 40, 0], [-4, 5, 0.5, 255, 7]], "<f4")


def make_content(names=("CAM_FRONT", "CAM_FRONT_LEFT")):
    camera = {"cam2img": [[30.0, 0, 20], [0, 30.0, 12], [0, 0, 1]], "cam2ego": CAM_TO_EGO}
    return {
        "timestamp_s": 1532402927.647951,
        "ego2global": [[0, -1, 0, 411.5], [1, 0, 0, 1180.25], [0, 0, 1, 0], [0, 0, 0, 1]],
        "cameras": {name: {"file": f"{name}.jpg", "timestamp_s": 1532402927.61246, **camera} for name in names},
        "lidar": {"file": "sweep.bin", "layout": "float32 x,y,z,intensity,ring", "lidar2ego": LIDAR_TO_EGO},
    }


def write_frame(folder, content, points=POINTS):
    for number, item in enumerate(content["cameras"].values()):
        cv2.imwrite(str(folder / item["file"]), np.full((24, 40, 3), (10, 20, 30 + 40 * number), np.uint8))
    (folder / "sweep.bin").write_bytes(points.tobytes())
    path = folder / "frame.json"
    path.write_text(json.dumps(content))
    return path


def test_a_frame_is_read_with_its_geometry(tmp_path):
    frame = read_rig_frame(write_frame(tmp_path, make_content()))
    assert list(frame.images) == ["front", "front_left"]
    assert [camera.name for camera in frame.rig.cameras] == ["front", "front_left"]
    assert frame.stamp_ns == frame.lidar_stamp_ns == 1532402927647951000
    assert frame.image_stamps_ns == {"front": 1532402927612460000, "front_left": 1532402927612460000}
    camera = frame.rig.camera("front_left")
    assert (camera.width, camera.height, camera.intrinsics[0, 0], camera.intrinsics[1, 2]) == (40, 24, 30.0, 12.0)
    assert camera.base_from_camera.tolist() == CAM_TO_EGO
    assert frame.rig.base_from_lidar.tolist() == LIDAR_TO_EGO
    assert frame.odom_from_base[:3, 3].tolist() == [411.5, 1180.25, 0]
    assert frame.lidar.tolist() == [[1, 2, 3, 40], [-4, 5, 0.5, 255]]
    assert np.abs(frame.images["front_left"].mean((0, 1)) - (70, 20, 10)).max() < 3


@pytest.mark.parametrize("count", [1, 8])
def test_one_to_eight_cameras_are_read(tmp_path, count):
    frame = read_rig_frame(write_frame(tmp_path, make_content([f"CAM_{n}x" for n in "abcdefgh"[:count]])))
    assert len(frame.images) == count


def test_other_point_layouts_and_absent_parts_are_read(tmp_path):
    content = make_content()
    content["lidar"]["layout"] = "float32 t, z, y, x"
    for item in content["cameras"].values():
        del item["timestamp_s"]
    frame = read_rig_frame(write_frame(tmp_path, content, np.array([[9, 3, 2, 1]], "<f4")))
    assert frame.lidar.tolist() == [[1, 2, 3, 0]]
    assert set(frame.image_stamps_ns.values()) == {frame.stamp_ns}
    del content["lidar"], content["ego2global"]
    frame = read_rig_frame(write_frame(tmp_path, content))
    assert (frame.lidar, frame.lidar_stamp_ns, frame.odom_from_base) == (None, None, None)


def moving(seconds=(-0.1, 0.0, 0.1)):
    """10 m/s along x."""
    poses = [[[1, 0, 0, 10 * t], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] for t in seconds]
    return [{"timestamp_s": 1532402927.65 + t, "ego2global": pose} for t, pose in zip(seconds, poses)]


def test_the_vehicles_motion_and_times_of_points_are_read(tmp_path):
    content = make_content() | {"trajectory": moving()}
    content["lidar"]["layout"] = "float32 x,y,z,intensity,time"
    points = np.array([[1, 2, 3, 40, 0], [-4, 5, 0.5, 255, 0.05]], "<f4")
    frame = read_rig_frame(write_frame(tmp_path, content, points))
    assert frame.trajectory.stamps_ns.tolist() == [1532402927550000000, 1532402927650000000, 1532402927750000000]
    assert frame.trajectory.poses[:, 0, 3].tolist() == [-1, 0, 1]
    assert frame.lidar_times_s == pytest.approx([0, 0.05])
    assert frame.lidar.tolist() == [[1, 2, 3, 40], [-4, 5, 0.5, 255]]


def _set(*keys, value):
    def apply(content):
        for key in keys[:-1]:
            content = content[key]
        if value is None:
            del content[keys[-1]]
        else:
            content[keys[-1]] = value

    return apply


FRONT = ("cameras", "CAM_FRONT")
WRONG = [
    (_set("cameras", value=None), "'cameras' is missing"),
    (_set("cameras", value=[1]), "'cameras' is not a dict"),
    (_set("cameras", value={}), "'cameras' holds 0; 1 to 8"),
    (_set("timestamp_s", value=None), "'timestamp_s' is missing or not a time"),
    (_set("timestamp_s", value="noon"), "'timestamp_s' is missing or not a time"),
    (_set("timestamp_s", value=float("inf")), "'timestamp_s' is missing or not a time"),
    (_set(*FRONT, "file", value=None), "'cameras.CAM_FRONT.file' is missing"),
    (_set(*FRONT, "file", value="no.jpg"), "no.jpg: cannot be read"),
    (_set(*FRONT, "cam2img", value=[[1, 2], [3, 4]]), "'cameras.CAM_FRONT.cam2img' is not a 3 x 3 matrix"),
    (_set(*FRONT, "cam2img", value=[[0, 0, 0]] * 3), "'cameras.CAM_FRONT.cam2img': .*focal lengths must be positive"),
    (_set(*FRONT, "cam2ego", value=[[1, 2], [3]]), "'cameras.CAM_FRONT.cam2ego' is not a 4 x 4 matrix"),
    (_set(*FRONT, "cam2ego", value=np.diag([2, 1, 1, 1]).tolist()), "cam2ego' is not a rigid transform"),
    (_set(*FRONT, "cam2ego", value=np.diag([-1, 1, 1, 1]).tolist()), "cam2ego' is not a rigid transform"),
    (_set("ego2global", value=[[float("nan")] * 4] * 4), "'ego2global' is not a 4 x 4 matrix of finite"),
    (_set("trajectory", value={}), "'trajectory' is not a list"),
    (_set("trajectory", value=[3]), r"'trajectory\[0\].timestamp_s' is missing or not a time"),
    (_set("trajectory", value=[{"timestamp_s": 1}]), r"'trajectory\[0\].ego2global' is missing"),
    (_set("trajectory", value=moving((0.1, 0.0))), "'trajectory': .*strictly increase"),
    (_set("lidar", "layout", value="float64 x,y,z"), "'lidar.layout' is 'float64 x,y,z'"),
    (_set("lidar", "layout", value="float32 x,y,z"), "sweep.bin: 40 bytes are no multiple of 12"),
    (_set("lidar", "file", value="gone.bin"), "gone.bin: cannot be read"),
    (_set("lidar", "lidar2ego", value=None), "'lidar.lidar2ego' is missing"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_description_is_named(tmp_path, change, message):
    content = make_content()
    path = write_frame(tmp_path, content)
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=message) as caught:
        read_rig_frame(path)
    assert str(tmp_path) in str(caught.value)


def test_camera_names_must_be_ros_names_and_differ(tmp_path):
    with pytest.raises(DatasetError, match="camera '0' gives no ROS name"):
        read_rig_frame(write_frame(tmp_path, make_content(["0"])))
    with pytest.raises(DatasetError, match="camera names must be unique"):
        read_rig_frame(write_frame(tmp_path, make_content(["CAM_FRONT", "front"])))
    with pytest.raises(DatasetError, match="'cameras' holds 9; 1 to 8"):
        read_rig_frame(write_frame(tmp_path, make_content([f"c{n}" for n in range(9)])))


def test_missing_and_broken_json_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no\.json: cannot be read"):
        read_rig_frame(tmp_path / "no.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DatasetError, match=r"broken\.json: not valid JSON"):
        read_rig_frame(tmp_path / "broken.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"list\.json: 'cameras' is missing"):
        read_rig_frame(tmp_path / "list.json")
