"""The key file and who gets past it."""

import asyncio
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from runpod_flash.control_plane.keys import AuthMiddleware, ensure_key
from runpod_flash.control_plane.store import StoreError


def test_the_key_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "plane" / "key"
    key = ensure_key(path)
    assert len(key) >= 40
    assert ensure_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert ensure_key(tmp_path / "other") != key
    assert sorted(file.name for file in path.parent.iterdir()) == ["key"]


def test_an_operators_own_key_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("chosen\n")
    path.chmod(0o600)
    assert ensure_key(path) == "chosen"


@pytest.mark.parametrize(
    ("content", "mode", "said"), [("k", 0o644, "no secret"), ("", 0o600, "holds no key"), ("ü", 0o600, "no key")]
)
def test_a_key_that_cannot_serve_is_refused(tmp_path: Path, content: str, mode: int, said: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(StoreError, match=said):
        ensure_key(path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"key file .* cannot be used"):
        ensure_key(tmp_path / "file" / "key")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Bearer secret", 200),
        (b"bearer  secret ", 200),
        (b"secret", 200),
        (b"Bearer secre", 401),
        (b"Bearer", 401),
        (b"Basic secret", 401),
        (b"", 401),
        (b"\xff", 401),
        (None, 401),
    ],
)
def test_only_the_key_gets_through(header: bytes | None, status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [] if header is None else [(b"authorization", header)]
    asyncio.run(AuthMiddleware(app, "secret")({"type": "http", "headers": headers}, receive, send))
    assert sent[0]["status"] == status
