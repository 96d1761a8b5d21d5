"""The `amodal` command line. Exit codes: 0 done, 2 wrong usage or input, 1 a defect."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from amodal_perception_ros import __version__
from amodal_perception_ros.errors import InputError, RunError

if TYPE_CHECKING:
    from amodal_perception_ros.evaluation.sources import Source

_FORMATS = "amodal-synth-drive, kitti-360-aps, bdd100k-aps, amodal-panoptic, kins, cocoa, cocoa-cls, d2sa"
"""Names of `datasets.formats.FORMATS`, which takes a second to import."""

# Each command imports its room when it runs, so that `amodal --help` is instant and `amodal train` needs no ROS.


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not WIDTHxHEIGHT, for example 512x288") from None
    if width <= 0 or height <= 0:
        raise argparse.ArgumentTypeError(f"'{text}': width and height must be positive")
    return width, height


def _positive_int(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return value


def _count(text: str) -> int:
    value = _whole_number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 0")
    return value


def _range(text: str) -> tuple[int, int]:
    try:
        low, high = (int(part) for part in text.split("-"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not LEAST-LARGEST, for example 1-5") from None
    return low, high


def _positive_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None


def _simulate(args: argparse.Namespace) -> int:
    from amodal_perception_ros.datasets.generate import generate, read_overrides, sequence_configs

    configs = sequence_configs(
        args.sequences,
        args.seed,
        weather=args.weather,
        layout=args.layout,
        frames=args.frames,
        width=args.size[0],
        height=args.size[1],
        rate_hz=args.rate,
        supersample=args.supersample,
        bev=not args.no_bev,
        renderer=args.renderer,
        overrides=read_overrides(args.distributions) if args.distributions else {},
    )
    generate(args.out, configs, args.workers, derived=not args.no_derived)
    if args.stats:
        _write_statistics(args.out)
    return 0


def _write_statistics(data: Path) -> None:
    from amodal_perception_ros.datasets.files import unwritable, write_bytes
    from amodal_perception_ros.datasets.statistics import dataset_statistics
    from amodal_perception_ros.viewing.histograms import draw_statistics

    statistics, picture = dataset_statistics(data), data / "statistics.png"
    print(statistics)
    write_bytes(data / "statistics.json", (json.dumps(statistics.to_dict(), indent=2) + "\n").encode())
    try:
        draw_statistics(statistics, picture)
    except OSError as error:
        raise unwritable(picture, error) from error


def _bag(args: argparse.Namespace) -> int:
    from amodal_perception_ros.datasets.amodal_synth_drive import read_sequence
    from amodal_perception_ros.datasets.bag import write_bag
    from amodal_perception_ros.datasets.rig_frame import read_rig_frame

    if args.frame:
        write_bag([read_rig_frame(args.frame)], args.out, profile=args.profile)
    else:
        sequence = read_sequence(args.data, parts=("images", "lidar"))
        sequence.require("images", "calibration")
        write_bag(sequence, args.out, profile=args.profile)
    print(f"wrote {args.out}")
    return 0


def _composite(args: argparse.Namespace) -> int:
    from amodal_perception_ros.datasets.composites import make_composites

    counts = make_composites(args.data, args.out, args.seed, args.objects, args.modal)
    rejected = ", ".join(f"{count} {cause}" for cause, count in counts.most_common() if cause != "pasted")
    print(f"wrote {args.out}: {counts['pasted']} objects pasted" + (f"; left out: {rejected}" if rejected else ""))
    return 0


def _train(args: argparse.Namespace) -> int:
    from amodal_perception_ros.training.config import load_config
    from amodal_perception_ros.training.train import train

    train(args.data, args.out, load_config(args.config), args.resume, args.format, args.images)
    return 0


_SCORING = (
    *("format", "images", "weights", "predictions", "prediction_format"),
    *("name", "engine", "without_lidar", "workers", "resamples"),
)


def _evaluate(args: argparse.Namespace) -> int:
    from amodal_perception_ros.datasets.files import require_writable
    from amodal_perception_ros.evaluation.bootstrap import RESAMPLES
    from amodal_perception_ros.evaluation.comparison import read_runs
    from amodal_perception_ros.evaluation.run import evaluate, report, write_json
    from amodal_perception_ros.evaluation.sources import DataSet
    from amodal_perception_ros.viewing.evaluation_page import write_page

    _require_consistent(args)
    writers = [(args.json, write_json), (args.html, write_page)]
    outputs = [(path, write) for path, write in writers if path is not None]
    for path, _ in outputs:
        require_writable(path)
    if args.compare:
        evaluation = read_runs(args.compare)
    else:
        resamples = RESAMPLES if args.resamples is None else args.resamples
        evaluation = evaluate(
            DataSet(tuple(args.data), args.format, args.images), _runs(args), None, args.workers, resamples
        )
    text, failed = report(evaluation), list[str]()
    for path, write in outputs:
        try:
            write(evaluation, path)
            text += f"\nwrote {path}"
        except InputError as error:  # The other file and the table are not lost with it.
            failed.append(str(error))
    _print(text)
    if failed:
        raise InputError("; ".join(failed))
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    from amodal_perception_ros.datasets.files import require_writable, write_file
    from amodal_perception_ros.evaluation.calibrate import calibrate
    from amodal_perception_ros.viewing.calibration_page import write_calibration_page

    for path in filter(None, (args.out, args.json, args.html)):
        require_writable(path)
    result = calibrate(args.weights, args.data, args.out, args.sequences)
    print(f"{result}\nwrote {args.out}")
    if args.json:
        write_file(args.json, (json.dumps(result.to_dict(), indent=2, allow_nan=False) + "\n").encode())
    if args.html:
        write_calibration_page(result, args.html)
    return 0


def _require_consistent(args: argparse.Namespace) -> None:
    """Raise InputError for options of `evaluate` that exclude each other."""
    if bool(args.compare) == bool(args.data):
        raise InputError("give --data to score runs, or --compare with the JSON files of earlier ones")
    given = [f"--{name.replace('_', '-')}" for name in _SCORING if getattr(args, name) not in (None, [])]
    if args.compare and given:
        raise InputError(f"--compare reads what was scored before; {', '.join(given)} cannot be given with it")
    for option, paths in (("--compare", args.compare or []), ("--json and --html", [args.json, args.html])):
        resolved = [path.resolve() for path in paths if path is not None]
        twice = [path for path in resolved if resolved.count(path) > 1]
        if twice:
            raise InputError(f"{option}: {twice[0]} is given twice")


def _print(text: str) -> None:
    """Print; raises InputError where the output can take no more. A reader that has gone away is none."""
    encoding = sys.stdout.encoding
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except OSError as error:
        # What is left in the buffer is written at the end of the program, and must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"the standard output cannot be written ({error.strerror})") from error


def _runs(args: argparse.Namespace) -> dict[str, Source]:
    """Return the models and stored predictions to be scored, by name."""
    from amodal_perception_ros.evaluation.sources import Model, StoredPredictions

    stored = [StoredPredictions(path, args.prediction_format) for path in args.predictions]
    weights = args.weights or ([] if stored else [None])
    models = [Model(path, args.engine or "torch", lidar=not args.without_lidar) for path in weights]
    given = [str(path) for path in (*args.weights, *args.predictions)]
    names = args.name or (given if len(given) > 1 else ["ours"])
    if len(names) != len(models) + len(stored) or len(set(names)) < len(names):
        raise InputError(f"--name needs a name of its own for each of the {len(models) + len(stored)} runs")
    return dict(zip(names, [*models, *stored]))


def _require_ros() -> None:
    """Raise InputError where ROS 2 or the package's messages are not there."""
    if not all(importlib.util.find_spec(name) for name in ("rclpy", "amodal_perception_ros.msg")):
        raise InputError(
            "this command needs ROS 2 and this package's messages: run it as 'env/run amodal ...' after 'make build', "
            "or in a sourced ROS 2 workspace"
        )


def _run(args: argparse.Namespace) -> int:
    _require_ros()
    from amodal_perception_ros.ros.run import run

    run(args.bag, args.out, params=args.params, rate=args.rate)
    return 0


def _bench(args: argparse.Namespace) -> int:
    _require_ros()
    from amodal_perception_ros.ros.bench import bench

    bench(args.bag, engine=args.engine, size=args.size, json_path=args.json)
    return 0


def _export(args: argparse.Namespace) -> int:
    from amodal_perception_ros.perception.export import export_onnx

    export_onnx(args.weights, args.out, args.size, args.cameras)
    print(f"wrote {args.out}")
    return 0


def _card(args: argparse.Namespace) -> int:
    from amodal_perception_ros.datasets.files import write_file
    from amodal_perception_ros.viewing.model_card import model_card

    write_file(args.out, model_card(args.weights, args.evaluation).encode())
    print(f"wrote {args.out}")
    return 0


def _view(args: argparse.Namespace) -> int:
    if args.source.suffix == ".mcap" or any(args.source.glob("*.mcap")):
        _require_ros()
        from amodal_perception_ros.ros.recording_report import view_recording as view
    else:
        from amodal_perception_ros.viewing.view import view
    print(f"wrote {view(args.source, args.out)}")
    return 0


def _add_data_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    simulate = add("simulate", _simulate, "make annotated sequences with the street simulator")
    simulate.add_argument("--out", type=Path, required=True, help="data set directory to write")
    simulate.add_argument("--sequences", type=_positive_int, required=True, help="number of sequences")
    simulate.add_argument("--frames", type=_positive_int, required=True, help="frames in each sequence")
    simulate.add_argument("--seed", type=_whole_number, default=0, help="seed of the first sequence (default 0)")
    simulate.add_argument("--size", type=_size, default=(512, 288), help="image size WxH in pixels (default 512x288)")
    simulate.add_argument("--weather", default="random", help="weather name, 'random' (default) or 'all' in turn")
    simulate.add_argument("--layout", default="random", help="street layout, 'random' (default) or 'all' in turn")
    simulate.add_argument(
        "--distributions", type=Path, help="YAML file with entries that replace those of the simulator's distributions"
    )
    simulate.add_argument("--renderer", default="auto", help="opengl, raycast (no OpenGL needed) or auto (default)")
    simulate.add_argument("--rate", type=_positive_float, default=10.0, help="frames a second (default 10)")
    simulate.add_argument("--supersample", type=_positive_int, default=2, help="samples per pixel side (default 2)")
    simulate.add_argument("--no-bev", action="store_true", help="leave out the BEV truth, which training does not need")
    simulate.add_argument("--no-derived", action="store_true", help="leave out label files that follow from others")
    simulate.add_argument("--workers", type=_positive_int, default=1, help="processes (default 1)")
    simulate.add_argument("--stats", action="store_true", help="print and draw the data set's statistics")

    bag = add("bag", _bag, "turn a sequence or a rig frame into a rosbag2 MCAP")
    source = bag.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="directory of one sequence")
    source.add_argument("--frame", type=Path, help="JSON description of one rig frame")
    bag.add_argument("--out", type=Path, required=True, help="MCAP file to write")
    bag.add_argument("--profile", choices=("default", "carla"), default="default", help="topics and encodings")

    composite = add("composite", _composite, "paste fully visible objects over annotated images (clip art)")
    composite.add_argument("--data", type=Path, nargs="+", required=True, help="data sets of frames and objects")
    composite.add_argument("--out", type=Path, required=True, help="data set directory to write")
    composite.add_argument("--seed", type=_whole_number, default=0, help="seed of objects and places (default 0)")
    composite.add_argument("--objects", type=_range, default=(1, 5), help="objects to try per image (default 1-5)")
    composite.add_argument("--modal", action="store_true", help="use modal labels only, no amodal masks")

    view = add("view", _view, "draw a data set or a recorded run into a report with pictures")
    view.add_argument("source", type=Path, metavar="DIR_OR_MCAP", help="sequence directory or recorded MCAP")
    view.add_argument("--out", type=Path, default=Path("view"), help="directory of the report (default: view)")


def _add_model_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    train = add("train", _train, "train the network")
    train.epilog = "Several GPUs: torchrun --nproc-per-node N -m amodal_perception_ros.cli train ... (docs/network.md)."
    train.add_argument("--data", type=Path, nargs="+", required=True, help="data sets")
    train.add_argument("--format", metavar="NAME", help="format of the data (default: found out by the content)")
    train.add_argument("--images", type=Path, metavar="DIR", help="folder of pictures that the data keep apart")
    train.add_argument("--out", type=Path, required=True, help="directory of checkpoints, logs and final weights")
    train.add_argument("--config", type=Path, help="YAML file with training settings")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")

    evaluate = add("evaluate", _evaluate, "score models, stored predictions and trivial baselines")
    evaluate.epilog = (
        f"Formats: {_FORMATS}. They are described in docs/public-formats.md, all figures in docs/metrics.md."
    )
    option = evaluate.add_argument
    option("--data", type=Path, nargs="+", default=[], metavar="PATH", help="data sets with truth")
    option("--format", metavar="NAME", help="format of the data (default: found out by the content)")
    option("--images", type=Path, metavar="DIR", help="folder of the pictures of a format that keeps them apart")
    option("--weights", type=Path, nargs="+", default=[], metavar="FILE", help="weights (default: the package's)")
    option("--predictions", type=Path, nargs="+", default=[], metavar="PATH", help="stored predictions to score")
    option("--prediction-format", metavar="NAME", help="format of the predictions (default: found out by the content)")
    option("--name", nargs="+", metavar="NAME", help="names of the runs: those of --weights, then of --predictions")
    option("--engine", choices=("torch", "onnxruntime"), help="inference engine (default torch)")
    option(
        "--without-lidar",
        action="store_true",
        default=None,
        help="keep the LiDAR's points from the network, as if none came",
    )
    option("--workers", type=_positive_int, metavar="N", help="processes (default: one per core, one with a GPU)")
    option("--resamples", type=_count, metavar="N", help="for confidence intervals (default 200, 0: none)")
    option("--json", type=Path, metavar="FILE", help="write the results as JSON")
    option("--html", type=Path, metavar="FILE", help="write the results as a page with the worst images")
    option("--compare", type=Path, nargs="+", metavar="FILE", help="compare the JSON files of earlier evaluations")

    calibrate = add(
        "calibrate", _calibrate, "make the network's probabilities honest on sequences held out of training"
    )
    calibrate.add_argument("--weights", type=Path, required=True, metavar="FILE", help="safetensors file")
    calibrate.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help="data sets with truth")
    calibrate.add_argument(
        "--sequences",
        nargs="+",
        metavar="NAME",
        help="sequences to use (default: those that the weights say were held out)",
    )
    calibrate.add_argument("--out", type=Path, required=True, metavar="FILE", help="weights file to write")
    calibrate.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    calibrate.add_argument("--html", type=Path, metavar="FILE", help="write a page with the reliability curves")

    export = add("export", _export, "export weights to ONNX")
    export.add_argument("--weights", type=Path, required=True, help="safetensors file")
    export.add_argument("--out", type=Path, required=True, help="ONNX file to write")
    export.add_argument("--size", type=_size, default=(512, 288), help="input size WxH (default 512x288)")
    export.add_argument("--cameras", type=_positive_int, default=4, help="batch size (default 4)")

    card = add("card", _card, "write the model card of a weights file")
    card.add_argument("--weights", type=Path, required=True, help="safetensors file")
    card.add_argument("--evaluation", type=Path, help="what 'amodal evaluate --json' wrote for these weights")
    card.add_argument("--out", type=Path, required=True, help="Markdown file to write")


def _add_ros_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    run = add("run", _run, "run a bag through the perception node over real ROS 2 topics")
    run.add_argument("--bag", type=Path, required=True, help="rosbag2 MCAP to replay")
    run.add_argument("--out", type=Path, required=True, help="directory of the results")
    run.add_argument(
        "--params", type=Path, help="ROS parameter file; without cameras in it, sensors and frames are those of the bag"
    )
    run.add_argument("--rate", type=_positive_float, default=1.0, help="playback rate (default 1.0)")

    bench = add("bench", _bench, "time the stages of a tick, sensor message in to messages out")
    bench.add_argument("--bag", type=Path, help="bag to replay (default: the demo drive)")
    bench.add_argument("--engine", default="onnxruntime", choices=("torch", "onnxruntime"), help="inference engine")
    bench.add_argument("--size", type=_size, default=(512, 288), help="network input size WxH (default 512x288)")
    bench.add_argument("--json", type=Path, help="write the figures as JSON")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="amodal", description="Real-time amodal perception for ROS 2.")
    parser.add_argument("--version", action="version", version=f"amodal {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, handler: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        command.set_defaults(handler=handler)
        return command

    _add_data_commands(add)
    _add_model_commands(add)
    _add_ros_commands(add)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = build_parser().parse_args(argv)
    try:
        return args.handler(args)
    except InputError as error:
        print(f"amodal: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"amodal: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("amodal: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
