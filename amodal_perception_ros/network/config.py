"""Hyper-parameters of the network. They travel with the weights as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

from amodal_perception_ros.labels import STUFF, THINGS

CANONICAL_FOCAL = 256.0
"""Focal length [px] that predicted log depths refer to: metric Z = exp(prediction) * fx_net / CANONICAL_FOCAL,
where fx_net is the camera's focal length at the network's input size. A camera with twice the focal length shows
an object at twice the distance with the same pixels, so the pixels alone only determine Z / fx (Metric3D, Yin et
al. 2023, section 3.1)."""

OUTPUT_STRIDE = 4
"""Masks, fields and dense maps are predicted at 1/4 of the input size."""

INPUT_MULTIPLE = 32
"""Input height and width must be multiples of this."""

STUFF_CLASSES = len(STUFF)
THING_CLASSES = len(THINGS)


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network.

    Attributes:
        stem_channels: channels after the first stride-2 convolution.
        widths: encoder channels at strides 4, 8, 16 and 32.
        depths: residual blocks at those strides.
        channels: channels D of the feature pyramid and of the tokens; a multiple of 4.
        guidance_channels: hidden channels of the LiDAR guidance branch.
        mask_channels: channels of the mask features F that the instance fields read.
        field_hidden: hidden units of each instance's field MLP.
        tokens: K, the fixed number of instance tokens.
        seed_stride: 4 or 8, stride of the seed heat map.
        instance_head: name of the head that gives each token its masks and depth (see `instance_heads`).
    """

    stem_channels: int = 16
    widths: tuple[int, int, int, int] = (32, 96, 192, 256)
    depths: tuple[int, int, int, int] = (1, 2, 2, 2)
    channels: int = 80
    guidance_channels: int = 16
    mask_channels: int = 32
    field_hidden: int = 8
    tokens: int = 64
    seed_stride: int = 4
    instance_head: str = "fields"

    def __post_init__(self) -> None:
        for name in ("widths", "depths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            values = getattr(self, name)
            if len(values) != 4 or not all(isinstance(v, int) and v > 0 for v in values):
                raise ValueError(f"network {name} must be four positive integers, got {values}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("widths", "depths", "instance_head") and (not isinstance(value, int) or value <= 0):
                raise ValueError(f"network {field.name} must be a positive integer, got {value!r}")
        if self.channels % 4:
            raise ValueError(f"network channels must be a multiple of 4, got {self.channels}")
        if self.seed_stride not in (4, 8):
            raise ValueError(f"network seed_stride must be 4 or 8, got {self.seed_stride}")

    def to_json(self) -> str:
        """Return the configuration as a JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_dict(cls, values: dict) -> NetworkConfig:
        """Build a configuration from a mapping; raises ValueError for unknown keys and bad values."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown network settings {unknown}; known: {[field.name for field in fields(cls)]}")
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> NetworkConfig:
        """Read what `to_json` wrote; raises ValueError for text that is not such an object."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a network configuration is a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)
