"""What all HTML pages share: they are rendered from templates, escaped, and hold their pictures as data."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

JPEG_QUALITY = 88

_MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png"}
_ENVIRONMENT = Environment(
    loader=PackageLoader("amodal_perception_ros.viewing"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **context: Any) -> str:
    """Return a page; `template` is a file of the folder templates. Text of the context is escaped."""
    return _ENVIRONMENT.get_template(template).render(context)


def encode(picture: np.ndarray, suffix: str, quality: int = JPEG_QUALITY) -> bytes:
    """Return a (H, W, 3) uint8 RGB picture as the content of a file; `suffix` is ".jpg" or ".png".

    Raises:
        ValueError: the picture cannot be encoded.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    ok, encoded = cv2.imencode(suffix, picture[..., ::-1], options)
    if not ok:
        raise ValueError(f"picture {picture.dtype} {picture.shape} cannot be encoded as {suffix}")
    return encoded.tobytes()


def data_uri(content: bytes, suffix: str) -> str:
    """Return an encoded picture as the address of an `<img>`, so that a page needs no other file."""
    return f"data:{_MEDIA_TYPES[suffix]};base64,{base64.b64encode(content).decode()}"
