"""`Perception`: one call from sensor data to an amodal scene."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np

from amodal_perception_ros.motion_compensation import compensate
from amodal_perception_ros.network import WeightsError
from amodal_perception_ros.perception.calibration import Calibration
from amodal_perception_ros.perception.engine import Engine, create_engine
from amodal_perception_ros.perception.postprocess import PostprocessConfig, build_scenes
from amodal_perception_ros.perception.preprocess import prepare
from amodal_perception_ros.scene import Camera, Rig, SurroundFrame, SurroundScene

WEIGHTS_NAME = "surround-s.safetensors"


def default_weights() -> Path:
    """Return the weights that come with the package: beside a source tree, or in an install's share folder.

    Raises:
        WeightsError: neither place has them.
    """
    package = Path(__file__).resolve().parents[1]
    share = Path("share") / "amodal_perception_ros" / "weights" / WEIGHTS_NAME
    candidates = [package.parent / "weights" / WEIGHTS_NAME, *(parent / share for parent in package.parents)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise WeightsError(
        f"no {WEIGHTS_NAME} beside the package; looked at {candidates[0]} and below share/ of the install"
    )


class Perception:
    """Amodal panoptic segmentation, occlusion order and amodal depth for all cameras in one forward pass."""

    def __init__(self, engine: Engine, input_size: tuple[int, int], config: PostprocessConfig) -> None:
        self.engine = engine
        self.input_size = input_size
        self.config = config

    @classmethod
    def from_weights(
        cls,
        weights: Path | str | None = None,
        engine: str = "torch",
        device: str = "auto",
        precision: str = "float32",
        input_size: tuple[int, int] = (512, 288),
        cameras: int = 4,
        config: PostprocessConfig | None = None,
        threads: int = 0,
        acceleration: str = "none",
    ) -> Perception:
        """Load weights (default: those of the package) into an engine; see `create_engine` for the arguments.

        The calibration of the `config` and what is measured of its depth come with the weights, if they state them.

        Raises:
            WeightsError: the file is missing, truncated or of another architecture.
            InputError: an option is unknown or not available on this machine.
        """
        path = Path(weights) if weights else default_weights()
        loaded = create_engine(path, engine, device, precision, input_size, cameras, threads, acceleration)
        measured = loaded.metadata.get("amodal_depth_relative_stddev")
        calibration = Calibration.from_metadata(loaded.metadata)
        config = dataclasses.replace(config or PostprocessConfig(), calibration=calibration)
        if measured is not None:
            config = dataclasses.replace(config, depth_relative_stddev=float(measured))
        return cls(loaded, input_size, config)

    @property
    def model_id(self) -> str:
        """Name of the weights."""
        return self.engine.metadata.get("model_id", "unnamed")

    def warm_up(self, cameras: int = 4) -> None:
        """Run one empty batch, so that the first real frame is as fast as the others."""
        width, height = self.input_size
        intrinsics = np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1.0]])
        rig = Rig(tuple(Camera(f"camera_{k}", width, height, intrinsics, np.eye(4)) for k in range(cameras)))
        black = np.zeros((height, width, 3), np.uint8)
        self.perceive(SurroundFrame(0, rig, {camera.name: black for camera in rig.cameras}))

    def perceive(self, frame: SurroundFrame) -> SurroundScene:
        """Perceive one synchronized set.

        Args:
            frame: at least one image; LiDAR makes depth metric and may be absent. It is compensated for motion first.

        Returns:
            The scene of every camera present, where the compensated rig has it, with `timings_ms` of preprocess,
            inference and postprocess.

        Raises:
            ValueError: the frame holds no image.
        """
        start = time.perf_counter()
        compensation = compensate(frame)
        frame = compensation.frame
        batch = prepare(frame, self.input_size)
        prepared = time.perf_counter()
        output = self.engine.run(batch)
        inferred = time.perf_counter()
        stamps = [frame.image_stamps_ns.get(view.camera.name, frame.stamp_ns) for view in batch.views]
        scenes = build_scenes(output, self.engine.painter, batch.views, stamps, self.config)
        finished = time.perf_counter()
        timings = {
            "preprocess": 1e3 * (prepared - start),
            "inference": 1e3 * (inferred - prepared),
            "postprocess": 1e3 * (finished - inferred),
        }
        cameras = {scene.camera.name: scene for scene in scenes}
        return SurroundScene(frame.stamp_ns, cameras, self.model_id, timings, compensation.faults)
