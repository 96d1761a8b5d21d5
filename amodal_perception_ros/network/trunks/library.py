"""Everything that is asked of the `transformers` library: encoders by configuration, by name, and their maps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor, nn

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network.config import BackboneConfig

STAGES = 4
"""Encoders with so many stages give maps at /4, /8, /16 and /32, all others one map."""

_OF_LABELS = ("id2label", "label2id", "num_labels", "problem_type", "architectures", "transformers_version", "dtype")
"""Settings of heads that the encoder does not have, and of the machine that wrote them."""


def build_encoder(architecture: dict[str, Any]) -> nn.Module:
    """Return an encoder with random weights.

    Args:
        architecture: the library's configuration, with "model_type".

    Raises:
        InputError: the library is not installed or does not know the architecture as an encoder of images.
    """
    _require_library()
    from transformers import AutoConfig

    kind = architecture["model_type"]
    try:
        settings = AutoConfig.for_model(**architecture)
        return _class_of(settings)(_with_all_stages(settings)).float()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"backbone architecture '{kind}' cannot be built: {_first_line(error)}") from error


def load_encoder(backbone: BackboneConfig) -> tuple[nn.Module, BackboneConfig]:
    """Read a pretrained encoder from the folder or, through the library's cache, from the hub.

    Returns:
        The encoder, and the backbone with its architecture and its statistics (ImageNet's where it states none). A
        folder's name is kept without its path.

    Raises:
        InputError: the library is not installed, or the weights cannot be had, are damaged or incomplete.
    """
    _require_library()
    from transformers import AutoConfig

    name = str(backbone.name)
    try:
        settings = AutoConfig.from_pretrained(name)
        kind = _class_of(settings)
        encoder, report = kind.from_pretrained(name, config=_with_all_stages(settings), output_loading_info=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise InputError(
            f"backbone '{name}' cannot be loaded: {_first_line(error)}; give a hub id (needs network access or the "
            "library's cache) or a folder with config.json and model.safetensors"
        ) from error
    # Checkpoints of classifiers lack the norms behind the stages, which then start as the identity.
    missing = sorted(key for key in report["missing_keys"] if "norm" not in key)
    if missing:
        raise InputError(f"backbone '{name}': its weights lack {len(missing)} tensors, among them {missing[:3]}")
    mean, std = _statistics(name, backbone)
    kept = Path(name).resolve().name if Path(name).is_dir() else name
    return encoder.float(), replace(backbone, name=kept, architecture=_description(settings), mean=mean, std=std)


def maps_of(encoder: nn.Module, image: Tensor) -> Sequence[Tensor]:
    """Return the encoder's (B, C, h, w) maps of a normalised (B, 3, H, W) image, finest first."""
    if _is_backbone(encoder):
        return encoder(image).feature_maps
    return encoder(image, output_hidden_states=True).hidden_states


def patch_size_of(encoder: nn.Module) -> int | None:
    """Return the patch size [px] of an encoder with one map, None for one with a map for each of four stages."""
    settings: Any = encoder.config
    return None if _has_stages(settings) else int(settings.patch_size)


def _require_library() -> None:
    if find_spec("transformers") is None:
        raise InputError(
            "a backbone needs the package transformers: pip install 'amodal_perception_ros[transformers]', or "
            "pip install -r requirements-transformers.txt"
        )


def _class_of(settings: Any) -> Any:
    """Return the library's class of an encoder: a backbone, or SegFormer, whose hidden states are its maps."""
    from transformers import MODEL_FOR_BACKBONE_MAPPING, SegformerConfig, SegformerModel

    if isinstance(settings, SegformerConfig):
        return SegformerModel
    if type(settings) not in MODEL_FOR_BACKBONE_MAPPING:
        raise ValueError(f"'{settings.model_type}' is no backbone of the library")
    return MODEL_FOR_BACKBONE_MAPPING[type(settings)]


def _is_backbone(encoder: nn.Module) -> bool:
    return hasattr(encoder, "out_features")


def _has_stages(settings: Any) -> bool:
    return len(getattr(settings, "depths", None) or ()) == STAGES


def _with_all_stages(settings: Any) -> Any:
    """Have a backbone give the maps of all four stages, or the last map of one that keeps its size throughout."""
    if hasattr(settings, "out_indices"):
        last = len(settings.stage_names) - 1
        settings.out_indices = list(range(last - STAGES + 1, last + 1)) if _has_stages(settings) else [last]
    if not _has_stages(settings) and not isinstance(getattr(settings, "patch_size", None), int):
        raise ValueError(f"'{settings.model_type}' has neither four stages nor one patch size")
    return settings


def _description(settings: Any) -> dict[str, Any]:
    """Return a configuration as plain JSON values, without what says nothing about the encoder."""
    values = json.loads(json.dumps(settings.to_diff_dict()))
    return {key: value for key, value in values.items() if key not in _OF_LABELS and not key.startswith("_")}


def _statistics(name: str, backbone: BackboneConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    from transformers.image_processing_utils import ImageProcessingMixin

    try:
        values, _ = ImageProcessingMixin.get_image_processor_dict(name)
    except OSError:  # There is no preprocessor_config.json.
        return backbone.mean, backbone.std
    return tuple(values.get("image_mean") or backbone.mean), tuple(values.get("image_std") or backbone.std)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
