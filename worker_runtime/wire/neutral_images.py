"""Neutral encoding of PIL's images: mode, size, palette, what is said about them, and the raw pixels.

An image that was read from a file arrives as a plain one.
"""

import importlib
import sys
from typing import Any

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.neutral_nodes import Decoder, Encoder, Kind, Node, natural, text
from worker_runtime.wire.neutral_plain import bytes_of, decode_pairs, encode_bytes, encode_pairs

_BITS = {
    "1": 1, "L": 8, "P": 8, "LA": 16, "PA": 16, "La": 16, "I;16": 16, "I;16L": 16, "I;16B": 16, "RGB": 24, "YCbCr": 24,
    "LAB": 24, "HSV": 24, "RGBA": 32, "RGBX": 32, "RGBa": 32, "CMYK": 32, "I": 32, "F": 32,
}  # fmt: skip
"""The bits of a pixel by mode."""


def pillow_kind(value: Any) -> Kind | None:
    """The kind of one of PIL's objects, None where it has none."""
    image = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return _IMAGE if image is not None and isinstance(value, image) else None


def _encode_image(encoder: Encoder, value: Any) -> list[Node]:
    if value.mode not in _BITS:
        raise encoder.refusal(f"is an image of mode {value.mode}; convert() it to a common one")
    pixels = value.tobytes()
    palette: list[Node] = []
    if value.palette is not None and value.mode in ("P", "PA"):
        palette = [value.palette.mode, *encode_bytes(encoder, value.palette.tobytes())]
    return [value.mode, *value.size, palette, encode_pairs(encoder, value.info), encoder.buffer(pixels)]


def _decode_image(decoder: Decoder, nodes: list[Node]) -> Any:
    pillow = importlib.import_module("PIL.Image")
    mode, width, height, palette, info, number = nodes
    size, data = (natural(width), natural(height)), decoder.buffer(number)
    if mode not in _BITS or (size[0] * _BITS[mode] + 7) // 8 * size[1] != len(data):
        raise WireError(f"an image of mode {mode!r:.20} and size {size} does not have {len(data)} bytes")
    made = pillow.frombytes(mode, size, data) if len(data) else pillow.new(mode, size)
    if palette:
        form, colours = palette
        made.putpalette(bytes(bytes_of(decoder, colours)), text(form))
    made.info = decode_pairs(decoder, info)
    return made


_IMAGE = Kind("PIL.image", _encode_image, _decode_image)
KINDS = (_IMAGE,)
