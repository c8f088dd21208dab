"""A body of fields and files, as browsers send forms: multipart/form-data (RFC 7578)."""

import os
from collections.abc import Mapping
from typing import Any

from runpod_flash.errors import CallError

_FILES = (bytes, bytearray, memoryview)


def has_files(value: Any) -> bool:
    """Whether a dict can only be sent as a form: one of its values is bytes."""
    return isinstance(value, Mapping) and any(isinstance(each, _FILES) for each in value.values())


def encode(fields: Mapping[Any, Any]) -> tuple[bytes, str]:
    """The body and its content type. Bytes are files; texts, numbers and booleans, or lists of them, are fields.

    Raises:
        CallError: a field is something else.
    """
    boundary = os.urandom(16).hex()
    parts = [part for name, value in fields.items() for part in _parts(name, value)]
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    return body + b"--%s--\r\n" % boundary.encode(), f"multipart/form-data; boundary={boundary}"


def _parts(name: Any, value: Any) -> list[bytes]:
    if not isinstance(name, str):
        raise CallError(f"data= has the name {name!r:.80}; names of a form's fields are texts")
    shown = name.replace("%", "%25").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = f'Content-Disposition: form-data; name="{shown}"'
    if isinstance(value, _FILES):
        kind = "Content-Type: application/octet-stream"
        return [f'{head}; filename="{shown}"\r\n{kind}\r\n\r\n'.encode() + bytes(value)]
    if isinstance(value, list | tuple):
        return [part for each in value for part in _parts(name, each)]
    if value is None:
        return []
    if not isinstance(value, str | int | float):
        raise CallError(
            f"data= has {name!r}: {value!r:.80}, and bytes beside it, so it goes as a form; fields of forms are texts, "
            "numbers, booleans or lists of them"
        )
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return [f"{head}\r\n\r\n{text}".encode()]
