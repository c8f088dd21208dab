"""Forms as a server reads them."""

import email
import email.policy
from typing import Any

import pytest

from runpod_flash import form_data
from runpod_flash.errors import CallError


def parts(fields: dict[Any, Any]) -> list[tuple[str, str | None, bytes]]:
    """Name, file name and content of each part, as another reader sees them."""
    body, kind = form_data.encode(fields)
    message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP)
    return [
        (
            part.get_param("name", header="content-disposition"),  # type: ignore[misc]
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()  # type: ignore[attr-defined]
    ]


def test_bytes_are_files_and_the_rest_are_fields() -> None:
    assert parts(
        {"image": b"\x00\xff\r\n--", "name": "dot", "count": 3, "ok": True, "tags": ["a", "b"], "no": None}
    ) == [
        ("image", "image", b"\x00\xff\r\n--"),
        ("name", None, b"dot"),
        ("count", None, b"3"),
        ("ok", None, b"true"),
        ("tags", None, b"a"),
        ("tags", None, b"b"),
    ]


def test_which_values_are_forms() -> None:
    assert form_data.has_files({"a": 1, "b": memoryview(b"x")})
    assert not form_data.has_files({"a": 1})
    assert not form_data.has_files(b"x")
    assert not form_data.has_files([b"x"])


def test_names_cannot_break_out() -> None:
    body, _ = form_data.encode({'a"\r\nX: y': b""})
    assert b'name="a%22%0D%0AX: y"' in body


@pytest.mark.parametrize("fields", [{"a": b"", "b": {}}, {"a": b"", 1: "x"}, {"a": b"", "b": [object()]}])
def test_what_no_form_holds(fields: dict[Any, Any]) -> None:
    with pytest.raises(CallError, match="data= has"):
        form_data.encode(fields)
