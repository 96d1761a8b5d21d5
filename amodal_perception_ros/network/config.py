"""Hyper-parameters of the network. They travel with the weights as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from amodal_perception_ros.labels import STUFF, THINGS

CANONICAL_FOCAL = 256.0
"""Focal length [px] that predicted log depths refer to: metric Z = exp(prediction) * fx_net / CANONICAL_FOCAL,
where fx_net is the camera's focal length at the network's input size. A camera with twice the focal length shows
an object at twice the distance with the same pixels, so the pixels alone only determine Z / fx (Metric3D, Yin et
al. 2023, section 3.1)."""

FEATURE_STRIDE = 4
"""The finest features, which the heads read, are at 1/4 of the input size."""

OUTPUT_STRIDE = 2
"""Masks, stuff and depth are predicted at 1/2 of the input size. At 1/4, masks of objects of 30 to 64 pixels could not
overlap with the truth by more than 57 % on average even if every cell were right; at 1/2 they can by 80 %."""

INPUT_MULTIPLE = 32
"""Input height and width must be multiples of this."""

STUFF_CLASSES = len(STUFF)
THING_CLASSES = len(THINGS)

INSTANCE_HEAD_NAMES = (
    "fields",
    "visible",
    "independent",
    "orcnn",
    "occluder_layers",
    "occlusion_layers",
    "level_depth",
    "level_depth_semantics",
    "guided_depth",
)
"""The heads of `instance_heads`: "fields" is ours, the others are baselines."""


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BackboneConfig:
    """An encoder of the `transformers` library in place of the network's own.

    Attributes:
        name: hub id ("facebook/dinov2-small") or folder whose weights a training starts from; None starts from random
            ones. Afterwards it only tells where the weights came from.
        architecture: the library's configuration of the encoder, with its "model_type"; None is read from `name`
            where a training starts (`pretrained.new_network`).
        mean, std: statistics of RGB in 0..1 that the encoder's input is normalised with; those of `name` where it
            states them.
        frozen: whether the encoder keeps its weights in training.
    """

    name: str | None = None
    architecture: dict[str, Any] | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    frozen: bool = False

    def __post_init__(self) -> None:
        if not self.name and not self.architecture:
            raise ValueError("network backbone needs a name (hub id or folder) or an architecture")
        if self.name is not None and not isinstance(self.name, str):
            raise ValueError(f"network backbone name must be text, got {self.name!r}")
        if self.architecture is not None and (
            not isinstance(self.architecture, dict) or "model_type" not in self.architecture
        ):
            raise ValueError("network backbone architecture must be a mapping with 'model_type'")
        if not isinstance(self.frozen, bool):
            raise ValueError(f"network backbone frozen must be true or false, got {self.frozen!r}")
        for name, least in (("mean", 0.0), ("std", 1e-3)):
            values = tuple(getattr(self, name))
            object.__setattr__(self, name, values)
            if len(values) != 3 or not all(isinstance(v, int | float) and least <= v <= 1 for v in values):
                raise ValueError(f"network backbone {name} must be three numbers in {least}..1, got {values}")


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
        backbone: encoder that takes the place of the network's own (stem, widths and depths then say nothing), or None.
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
    backbone: BackboneConfig | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.backbone, BackboneConfig | None):
            raise ValueError(f"network backbone must be a mapping with a name, got {self.backbone!r}")
        for name in ("widths", "depths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            values = getattr(self, name)
            if len(values) != 4 or not all(isinstance(v, int) and v > 0 for v in values):
                raise ValueError(f"network {name} must be four positive integers, got {values}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (not isinstance(value, int) or value <= 0):
                raise ValueError(f"network {field.name} must be a positive integer, got {value!r}")
        if self.channels % 4:
            raise ValueError(f"network channels must be a multiple of 4, got {self.channels}")
        if self.seed_stride not in (4, 8):
            raise ValueError(f"network seed_stride must be 4 or 8, got {self.seed_stride}")
        if self.instance_head not in INSTANCE_HEAD_NAMES:
            known = ", ".join(INSTANCE_HEAD_NAMES)
            raise ValueError(f"unknown network instance_head {self.instance_head!r}; known: {known}")

    def to_json(self) -> str:
        """Return the configuration as a JSON object; a backbone that is None is left out."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None})

    @classmethod
    def from_dict(cls, values: dict) -> NetworkConfig:
        """Build a configuration from a mapping; raises ValueError for unknown keys and bad values."""
        _require_known("network", values, cls)
        if isinstance(values.get("backbone"), dict):
            _require_known("network backbone", values["backbone"], BackboneConfig)
            values = {**values, "backbone": BackboneConfig(**values["backbone"])}
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> NetworkConfig:
        """Read what `to_json` wrote; raises ValueError for text that is not such an object."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a network configuration is a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)


def _require_known(section: str, values: dict, kind: type[NetworkConfig] | type[BackboneConfig]) -> None:
    known = [field.name for field in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"unknown {section} settings {unknown}; known: {known}")
