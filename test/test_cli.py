import subprocess
import sys

import pytest

from amodal_perception_ros.cli import build_parser, main
from amodal_perception_ros.datasets.bag import open_bag
from amodal_perception_ros.datasets.formats import FORMATS

COMMANDS = ("simulate", "bag", "train", "evaluate", "run", "bench", "export", "view")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "usage: amodal" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["simulate", "--out", "x"],
        ["simulate", "--out", "x", "--sequences", "0", "--frames", "1"],
        ["simulate", "--out", "x", "--sequences", "1", "--frames", "1", "--size", "512"],
        ["bag", "--out", "x.mcap"],
        ["run", "--bag", "x.mcap", "--out", "y", "--rate", "-1"],
        ["bench", "--engine", "tensorflow"],
    ],
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "expected"),
    [("--frames", "a whole number above 0"), ("--rate", "a number above 0"), ("--seed", "a whole number")],
)
def test_what_is_no_number_is_told_what_is_expected(option, expected, capsys):
    with pytest.raises(SystemExit):
        main(["simulate", "--out", "x", option, "many"])
    assert f"argument {option}: 'many' is not {expected}\n" in capsys.readouterr().err


def test_help_of_evaluate_lists_the_formats(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    told = " ".join(capsys.readouterr().out.replace("-\n", "-").split())
    assert f"Formats: {', '.join(FORMATS)}. They" in told
    for usage in (
        "--data PATH [PATH ...]",
        "--format NAME",
        "--images DIR",
        "--json FILE",
        "--compare FILE [FILE ...]",
    ):
        assert usage in told


def test_a_count_may_be_zero_and_says_so(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--data", "x", "--resamples", "-1"])
    assert "'-1' is not a whole number of at least 0\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["bag", "--frame", "{missing}.json", "--out", "{out}.mcap"], "missing.json"),
        (["bag", "--data", "{missing}", "--out", "{out}.mcap"], "missing"),
        (["export", "--weights", "{missing}.safetensors", "--out", "{out}.onnx"], "missing.safetensors"),
        (["train", "--data", "{missing}", "--out", "{out}"], "missing"),
        (["train", "--data", "{missing}", "--out", "{out}", "--config", "{missing}.yaml"], "missing.yaml"),
        (["evaluate", "--data", "{missing}"], "missing"),
        (["run", "--bag", "{missing}.mcap", "--out", "{out}"], "missing.mcap"),
        (["bench", "--bag", "{missing}.mcap"], "missing.mcap"),
        (["view", "{missing}"], "missing"),
        (["view", "{missing}.mcap"], "missing.mcap"),
    ],
)
def test_wrong_input_is_one_line_and_2(arguments, names, tmp_path, capsys):
    filled = [a.format(missing=tmp_path / "missing", out=tmp_path / "out") for a in arguments]
    assert main(filled) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1, error
    assert error[0].startswith("amodal: ")
    assert names in error[0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (["--size", "5x5"], "SequenceConfig.width = 5"),
        (["--seed", "-1"], "SequenceConfig.seed = -1"),
        (["--rate", "inf"], "SequenceConfig.rate_hz = inf"),
        (["--supersample", "9"], "SequenceConfig.supersample = 9"),
        (["--weather", "hail"], "SequenceConfig.weather = 'hail'"),
        (["--layout", "maze"], "SequenceConfig.layout = 'maze'"),
        (["--renderer", "magic"], "SequenceConfig.renderer = 'magic'"),
        (["--distributions", "{folder}/none.yaml"], "none.yaml: cannot be read"),
        (["--distributions", "{folder}/fov.yaml"], "'rig.fov' is 180"),
        (["--distributions", "{folder}/unknown.yaml"], "no entry 'rig.wheels'"),
    ],
)
def test_impossible_simulations_are_one_line_and_2(setting, message, tmp_path, capsys):
    (tmp_path / "fov.yaml").write_text("rig: {fov: 180}")
    (tmp_path / "unknown.yaml").write_text("rig: {wheels: 3}")
    filled = [part.format(folder=tmp_path) for part in setting]
    assert main(["simulate", "--out", str(tmp_path / "data"), "--sequences", "1", "--frames", "1", *filled]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("amodal: ")
    assert message in line
    assert not (tmp_path / "data").exists()


def test_a_data_set_from_simulation_to_report(tmp_path, capsys):
    """simulate -> bag and view, through the command line, at a tiny size."""
    data, recording = tmp_path / "data", tmp_path / "drive.mcap"
    simulate = ["simulate", "--out", str(data), "--sequences", "1", "--frames", "2", "--size", "96x64", "--seed", "7"]
    assert main([*simulate, "--supersample", "1", "--stats"]) == 0
    assert "person" in capsys.readouterr().out
    for name in ("statistics.png", "statistics.json"):
        (data / name).unlink()
        (data / name).mkdir()
        assert main([*simulate, "--supersample", "1", "--stats"]) == 2
        printed = capsys.readouterr()
        assert printed.out.startswith("all 1 sequences are finished already\n")
        assert f"{data / name}: cannot be written (Is a directory; " in printed.err
        assert len(printed.err.splitlines()) == 1
    assert main(["bag", "--data", str(data), "--out", str(recording)]) == 0
    assert recording.read_bytes().startswith(b"\x89MCAP")
    carla = tmp_path / "carla.mcap"
    assert main(["bag", "--data", str(data / "seq_000007"), "--out", str(carla), "--profile", "carla"]) == 0
    with open_bag(recording) as ours, open_bag(carla) as bridge:
        assert {"/imu/data", "/gnss/fix", "/lidar/points"} <= {topic.topic for topic in ours.topics}
        assert {topic.count for topic in bridge.topics} == {2}
    assert main(["view", str(data), "--out", str(tmp_path / "view")]) == 0
    assert "<html" in (tmp_path / "view" / "report.html").read_text()


def test_a_defect_is_not_hidden(monkeypatch, tmp_path):
    """Only InputError and RunError become messages; anything else must show its traceback (exit code 1)."""
    program = (
        "import sys; from amodal_perception_ros import cli; cli._export = lambda args: 1 / 0; "
        "sys.exit(cli.main(['export', '--weights', 'a', '--out', 'b']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_sizes_are_width_then_height():
    args = build_parser().parse_args(["export", "--weights", "a", "--out", "b", "--size", "960x544"])
    assert args.size == (960, 544)


def test_without_ros_one_line_says_what_is_missing():
    program = (
        "import importlib.util, sys; find = importlib.util.find_spec; "
        "importlib.util.find_spec = lambda name, *rest: None if name == 'rclpy' else find(name, *rest); "
        "from amodal_perception_ros import cli; sys.exit(cli.main(['run', '--bag', 'a.mcap', '--out', 'b']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("amodal: this command needs ROS 2")
    assert len(done.stderr.splitlines()) == 1
