"""Makes a data set with the street simulator, in parallel and resumable."""

from __future__ import annotations

import json
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, cast

import yaml
from tqdm import tqdm

from amodal_perception_ros import __version__
from amodal_perception_ros.datasets.amodal_synth_drive import SequenceReader, SequenceWriter
from amodal_perception_ros.datasets.files import DatasetError, is_file, locked, read_json, replace_json
from amodal_perception_ros.datasets.sequence_layout import Layout
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.simulation import SequenceConfig
from amodal_perception_ros.simulation.config import LAYOUTS, WEATHERS
from amodal_perception_ros.simulation.rendering.camera_look import draw_camera_look
from amodal_perception_ros.simulation.rendering.graphics import RendererError
from amodal_perception_ros.simulation.rendering.renderer import Renderer
from amodal_perception_ros.simulation.sequence import SequenceRunner

ALL = "all"
"""In place of a weather or layout: go through them in turn."""

_LOG_SECONDS = 60.0
_FRAME, _DONE = "frame", "done"
"""What a worker process sends after each frame, and after a sequence."""


def sequence_configs(
    sequences: int, seed: int = 0, weather: str = "random", layout: str = "random", **settings: Any
) -> list[SequenceConfig]:
    """Return the settings of the sequences of a data set; sequence i has seed `seed + i` and is named after it.

    Args:
        sequences: their number.
        seed: seed of the first one.
        weather: a weather of the simulator, "random", or "all" to go through them in turn.
        layout: a street layout of the simulator, "random", or "all".
        settings: other fields of `SequenceConfig`, the same for all.

    Raises:
        InputError: a setting is out of range; the message names it.
    """
    try:
        return [
            SequenceConfig(
                seed=seed + i,
                weather=WEATHERS[i % len(WEATHERS)] if weather == ALL else weather,
                layout=LAYOUTS[i % len(LAYOUTS)] if layout == ALL else layout,
                **settings,
            )
            for i in range(sequences)
        ]
    except ValueError as error:
        raise InputError(f"cannot simulate: {error}") from error


def read_overrides(path: Path | str) -> dict[str, Any]:
    """Return the entries of a YAML file that replace those of the simulator's `distributions.yaml`.

    Raises:
        InputError: the file cannot be read or is no YAML mapping; wrong entries are found by `SequenceConfig`.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of sections to entries, nested like distributions.yaml")
    return content


def generate(
    out: Path | str,
    configs: Sequence[SequenceConfig],
    workers: int = 1,
    split: str | None = None,
    derived: bool = True,
) -> Path:
    """Simulate sequences into a data set and return its folder.

    The content does not depend on the number of workers. Finished sequences are skipped: the same call after an
    interruption goes on where it stopped. `manifest.json` holds the settings of every sequence and, once it is
    finished, what was drawn for those that are left to chance.

    Args:
        out: folder of the data set.
        configs: settings of the sequences.
        workers: processes; each has its own rendering context.
        split: "train", "val" or "test" folder below `out`, or None.
        derived: also write the labels that follow from others (see `SequenceWriter`).

    Raises:
        InputError: a setting cannot be simulated, `out` holds a data set of other settings, or the machine has no
            off-screen OpenGL.
        DatasetError: a file cannot be read or written (full disk), another process is making a data set in `out`, or a
            worker process died.
    """
    if workers < 1:
        raise InputError(f"cannot simulate with {workers} workers; at least 1")
    base = Path(out) / split if split else Path(out)
    with locked(base / ".simulate.lock", f"{base}: another 'amodal simulate' is writing there; wait for its end"):
        settings = {config.sequence_name: _settings(config, derived) for config in configs}
        _write_manifest(base, settings)
        remaining = [config for config in configs if not _is_finished(base, config.sequence_name)]
        jobs = [(Path(out), split, config, derived) for config in remaining]
        with (
            _Progress(configs, remaining) as progress,
            _terminated_like_interrupted(),
            closing(_finished(jobs, workers, progress)) as done,
        ):
            for config in done:
                _write_manifest(base, {config.sequence_name: settings[config.sequence_name]})
                progress.finished(config)
    return Path(out)


_Job = tuple[Path, str | None, SequenceConfig, bool]
"""Folder, split, settings, and whether to write derived labels."""


def _settings(config: SequenceConfig, derived: bool) -> dict[str, Any]:
    """Return the settings as they come back from JSON."""
    return json.loads(json.dumps(asdict(config) | {"derived": derived}))


def _write_manifest(base: Path, settings: dict[str, dict[str, Any]]) -> None:
    """Write or extend `manifest.json` by sequences of these settings; a name made with other settings is refused."""
    path = base / "manifest.json"
    known = _read_manifest(path) if is_file(path) else {}
    for name, wanted in settings.items():
        # What a finished sequence says of itself counts, whatever has become of the manifest.
        made = SequenceReader(base, name, parts=()).info if _is_finished(base, name) else None
        earlier = known.get(name, wanted) if made is None else made
        changed = sorted(key for key, value in wanted.items() if earlier.get(key) != value)
        if changed:
            raise InputError(
                f"{base}: sequence {name} was made with other settings ({', '.join(changed)}); "
                "choose another folder or seed"
            )
        known[name] = wanted if made is None else made
    replace_json(path, {"generator": "amodal simulate", "sequences": dict(sorted(known.items()))})


def _read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    content = read_json(path)
    sequences = content.get("sequences") if isinstance(content, dict) else None
    if not isinstance(sequences, dict) or not all(isinstance(settings, dict) for settings in sequences.values()):
        raise DatasetError(f"{path}: not a manifest of 'amodal simulate', whose 'sequences' map names to settings")
    return sequences


def _is_finished(base: Path, name: str) -> bool:
    return is_file(Layout(base, name).marker())


def _finished(jobs: Sequence[_Job], workers: int, progress: _Progress) -> Generator[SequenceConfig, None, None]:
    """Run the jobs and yield the settings of every sequence once it is finished."""
    try:
        with closing(_run_here(jobs, progress) if workers == 1 else _run_workers(jobs, workers, progress)) as run:
            yield from run
    except RendererError as error:
        raise InputError(f"cannot simulate on this machine: {error}") from error


def _run_here(jobs: Sequence[_Job], progress: _Progress) -> Generator[SequenceConfig, None, None]:
    for job in jobs:
        _write_sequence(job, lambda: progress.frames(1))
        yield job[2]


def _run_workers(jobs: Sequence[_Job], workers: int, progress: _Progress) -> Generator[SequenceConfig, None, None]:
    """Yield the settings of every sequence once it is finished.

    Each process has a connection of its own and shares no lock or queue: one that is killed cannot hold up the others
    or the parent. When the parent closes its end, or is gone, a process stops after the frame it is at.
    """
    waiting, busy = deque(jobs), dict[Connection, _Job]()
    crew = [_start_worker() for _ in range(min(workers, len(jobs)))]
    try:
        idle = [connection for connection, _ in crew]
        while waiting or busy:
            while waiting and idle:
                job, connection = waiting.popleft(), idle.pop()
                busy[connection] = job
                with _alive(job):
                    connection.send(job)
            for connection in cast(list[Connection], wait(list(busy))):
                with _alive(busy[connection]):
                    message = connection.recv()
                if message == _FRAME:
                    progress.frames(1)
                elif message == _DONE:
                    idle.append(connection)
                    yield busy.pop(connection)[2]
                else:
                    error, where = message
                    raise error from RuntimeError(where)
    finally:
        for connection, _ in crew:
            connection.close()
        for _, process in crew:
            process.join()


def _start_worker() -> tuple[Connection, BaseProcess]:
    """Start a process and return the parent's end of its connection, and the process."""
    # Spawn, not fork: a rendering context does not survive a fork.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,))
    process.start()
    theirs.close()
    return ours, process


@contextmanager
def _alive(job: _Job) -> Iterator[None]:
    """Talk to a process that may have died."""
    try:
        yield
    except (EOFError, OSError) as error:
        out, _, config, _ = job
        died = "its simulator process died (out of memory, or no rendering context)"
        raise DatasetError(f"{out}: sequence {config.sequence_name}: {died}") from error


def _serve(connection: Connection) -> None:
    """Write the sequences that the parent asks for, until it closes its end or is gone."""
    for ignored in (signal.SIGINT, signal.SIGTERM):  # They reach the parent, which closes.
        signal.signal(ignored, signal.SIG_IGN)
    with suppress(EOFError, ConnectionError):
        while True:
            job = connection.recv()
            try:
                _write_sequence(job, lambda: connection.send(_FRAME))
            except ConnectionError:
                raise
            except Exception as error:
                connection.send((error, f"in the simulator process:\n{traceback.format_exc()}"))
            else:
                connection.send(_DONE)


def _write_sequence(job: _Job, on_frame: Callable[[], object]) -> None:
    """Simulate and write one sequence; an exception of `on_frame` leaves nothing of it."""
    out, split, config, derived = job
    with _distribution_errors(config):
        runner = SequenceRunner(config)
    try:
        info = _settings(config, derived) | {"resolved": resolved(runner), "version": __version__}
        quality = draw_camera_look(config).jpeg_quality
        with SequenceWriter(out, split, quality, info, derived) as writer:
            for index in range(config.frames):
                writer.write(runner.sample(index))
                on_frame()
    finally:
        runner.release()


@contextmanager
def _distribution_errors(config: SequenceConfig) -> Iterator[None]:
    """Values from the user's distributions may be impossible together; those of the simulator's own may not."""
    try:
        yield
    except ValueError as error:
        if not config.overrides:
            raise
        raise InputError(f"cannot simulate {config.sequence_name} with these distributions: {error}") from error


def resolved(runner: SequenceRunner) -> dict[str, str]:
    """Return what the settings "random" and "auto" came to, and whether occlusion was designed."""
    return {
        "weather": runner.weather.name,
        "layout": runner.town.layout.kind,
        "renderer": "opengl" if isinstance(runner.renderer, Renderer) else "raycast",
        "occlusion": "as it came" if runner.design is None else "designed",
    }


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM (of a batch system, for example) clean up as Ctrl-C does."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    # Not through SIGINT: a shell's background commands ignore that one.
    raise KeyboardInterrupt


class _Progress:
    """A bar with the time left on a terminal; in a log a line per finished sequence, and one a minute between them."""

    def __init__(self, configs: Sequence[SequenceConfig], remaining: Sequence[SequenceConfig]) -> None:
        self._total = sum(config.frames for config in remaining)
        self._sequences, self._done, self._finished = len(remaining), 0, 0
        self._start = self._last = time.monotonic()
        whole = sum(config.frames for config in configs)
        hidden = not sys.stderr.isatty()
        self._bar = tqdm(total=whole, initial=whole - self._total, unit="frame", disable=hidden)
        if len(remaining) < len(configs):
            done = f"{len(configs) - len(remaining)} of" if remaining else "all"
            self._log(f"{done} {len(configs)} sequences are finished already")

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def frames(self, count: int) -> None:
        """Count finished frames."""
        self._done += count
        self._bar.update(count)
        if self._bar.disable and time.monotonic() - self._last > _LOG_SECONDS:
            self._log(f"{self._done} of {self._total} frames{self._time_left()}")

    def finished(self, config: SequenceConfig) -> None:
        """Report a finished sequence."""
        self._finished += 1
        left = "" if self._finished == self._sequences else self._time_left()
        self._log(f"{config.sequence_name} finished ({self._finished} of {self._sequences}){left}")

    def _time_left(self) -> str:
        elapsed = time.monotonic() - self._start
        left = elapsed / max(1, self._done) * (self._total - self._done)
        return f", about {tqdm.format_interval(left)} left"

    def _log(self, text: str) -> None:
        self._last = time.monotonic()
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.write(text)
