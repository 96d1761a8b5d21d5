"""Makes a data set with the street simulator, in parallel and resumable."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from tqdm import tqdm

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceWriter
from amodal_perception_ros.datasets.codecs import DatasetError, read_json, write_json
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.simulation import SequenceConfig, simulate
from amodal_perception_ros.simulation.config import WEATHERS
from amodal_perception_ros.simulation.graphics import RendererError

_POLL_SECONDS = 0.5
_worker: tuple[SimpleQueue[int], Event] | None = None
"""In a worker process: where it reports frames, and the sign to stop."""


def generate(
    out: Path | str,
    sequences: int,
    frames: int,
    seed: int = 0,
    width: int = 512,
    height: int = 288,
    weather: str = "random",
    workers: int = 1,
    rate_hz: float = 10.0,
    supersample: int = 2,
    bev: bool = True,
    split: str | None = None,
) -> Path:
    """Simulate sequences into a data set and return its folder.

    Sequence i has seed `seed + i` and is named after it, so the content does not depend on the number of workers.
    Finished sequences are skipped: the same call after an interruption goes on where it stopped. `manifest.json`
    holds the settings and the seed of every sequence.

    Args:
        out: folder of the data set.
        sequences: number of sequences.
        frames: frames in each.
        seed: seed of the first sequence.
        width: image width [px].
        height: image height [px].
        weather: a weather of the simulator, "random", or "all" to go through them in turn.
        workers: processes; each has its own rendering context.
        rate_hz: frames a second.
        supersample: shaded points per pixel side.
        bev: also write the BEV occupancy truth.
        split: "train", "val" or "test" folder below `out`, or None.

    Raises:
        InputError: a setting is out of range, `out` holds a data set of other settings, or the machine has no
            off-screen OpenGL.
        DatasetError: a worker process died.
    """
    base = Path(out) / split if split else Path(out)
    configs = _configs(sequences, frames, seed, width, height, weather, rate_hz, supersample, bev)
    _write_manifest(base, configs)
    remaining = [config for config in configs if not _is_finished(base, config)]
    done = (len(configs) - len(remaining)) * frames
    with tqdm(total=len(configs) * frames, initial=done, unit="frame", disable=not sys.stderr.isatty()) as bar:
        if done and remaining:
            _log(bar, f"{len(configs) - len(remaining)} of {len(configs)} sequences are finished already")
        try:
            if workers == 1:
                _run_here(Path(out), split, remaining, bar)
            else:
                _run_workers(Path(out), split, remaining, min(workers, max(1, len(remaining))), bar)
        except RendererError as error:
            raise InputError(f"cannot simulate on this machine: {error}") from error
    return Path(out)


def _configs(
    sequences: int,
    frames: int,
    seed: int,
    width: int,
    height: int,
    weather: str,
    rate_hz: float,
    supersample: int,
    bev: bool,
) -> list[SequenceConfig]:
    names = WEATHERS
    try:
        return [
            SequenceConfig(
                seed=seed + i,
                frames=frames,
                rate_hz=rate_hz,
                width=width,
                height=height,
                weather=names[i % len(names)] if weather == "all" else weather,
                supersample=supersample,
                bev=bev,
            )
            for i in range(sequences)
        ]
    except ValueError as error:
        raise InputError(f"cannot simulate: {error}") from error


def _write_manifest(base: Path, configs: list[SequenceConfig]) -> None:
    """Write or extend `manifest.json`; the same seed with other settings is refused."""
    path = base / "manifest.json"
    known: dict[str, Any] = read_json(path)["sequences"] if path.exists() else {}
    for config in configs:
        earlier = known.setdefault(config.sequence_name, asdict(config))
        if earlier != asdict(config):
            changed = sorted(key for key, value in asdict(config).items() if earlier.get(key) != value)
            raise InputError(
                f"{base}: sequence {config.sequence_name} was made with other settings ({', '.join(changed)}); "
                "choose another folder or seed"
            )
    base.mkdir(parents=True, exist_ok=True)
    write_json(path, {"generator": "amodal simulate", "sequences": dict(sorted(known.items()))})


def _is_finished(base: Path, config: SequenceConfig) -> bool:
    return (base / "sequences" / f"{config.sequence_name}.json").is_file()


def _run_here(out: Path, split: str | None, remaining: list[SequenceConfig], bar: tqdm) -> None:
    for number, config in enumerate(remaining, 1):
        _write_sequence(out, split, config, bar.update)
        _log(bar, f"{config.sequence_name} finished ({number} of {len(remaining)})")


def _run_workers(out: Path, split: str | None, remaining: list[SequenceConfig], workers: int, bar: tqdm) -> None:
    # Spawn, not fork: a rendering context does not survive a fork.
    context = get_context("spawn")
    frames, stop = context.SimpleQueue(), context.Event()
    with ProcessPoolExecutor(workers, context, _start_worker, (frames, stop)) as pool:
        pending = {pool.submit(_work, out, split, config) for config in remaining}
        try:
            while pending:
                finished, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                while not frames.empty():
                    bar.update(frames.get())
                for future in finished:
                    _log(bar, f"{future.result()} finished ({len(remaining) - len(pending)} of {len(remaining)})")
        except BrokenProcessPool as error:
            raise DatasetError(f"{out}: a simulator process died (out of memory, or no rendering context)") from error
        finally:
            # After an error or Ctrl-C: cancelling alone would let the pool finish what it has queued ahead.
            stop.set()
            pool.shutdown(cancel_futures=True)


def _start_worker(frames: SimpleQueue[int], stop: Event) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which sets `stop`.
    _worker = (frames, stop)


def _work(out: Path, split: str | None, config: SequenceConfig) -> str:
    assert _worker is not None
    frames, stop = _worker

    def count() -> None:
        frames.put(1)
        if stop.is_set():
            raise InterruptedError

    if stop.is_set():
        raise InterruptedError
    _write_sequence(out, split, config, count)
    return config.sequence_name


def _write_sequence(out: Path, split: str | None, config: SequenceConfig, on_frame: Callable[[], object]) -> None:
    """Simulate and write one sequence; an exception of `on_frame` leaves nothing of it."""
    with SequenceWriter(out, split, info=asdict(config)) as writer:
        for sample in simulate(config):
            writer.write(sample)
            on_frame()


def _log(bar: tqdm, text: str) -> None:
    """Print a line above the progress bar, or a plain line where there is no terminal."""
    if bar.disable:
        print(text, flush=True)
    else:
        bar.write(text)
