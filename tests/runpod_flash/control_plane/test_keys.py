"""The key file and who gets past it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from runpod_flash.control_plane.api_keys import ApiKeys
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.keys import AuthMiddleware, Keyring, ensure_key
from runpod_flash.control_plane.principals import OWNER, PRINCIPAL, Principal, WorkerKey
from runpod_flash.control_plane.store import Store, StoreError


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


class Asked:
    """The middleware before an application that says yes, and whose request that was."""

    def __init__(self, path: str = "/v2/serverless", kind: str = "http", **scope: Any) -> None:
        self.sent: list[Message] = []
        self.principal: object = None
        self._scope = {"type": kind, "path": path, "headers": [], **scope}

    def with_header(self, header: bytes | None) -> "Asked":
        self._scope["headers"] = [] if header is None else [(b"authorization", header)]
        identify = {b"secret": Principal(), b"alice's": Principal("alice")}.get
        asyncio.run(AuthMiddleware(self._app, identify)(self._scope, self._receive, self._send))
        return self

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.principal = scope.get(PRINCIPAL)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    async def _receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Bearer secret", 200),
        (b"bearer  secret ", 200),
        (b"BEARER secret", 200),
        (b"secret", 200),
        (b"Bearer secre", 401),
        (b"Bearer", 401),
        (b"Basic secret", 401),
        (b"", 401),
        (b"\xff", 401),
        (None, 401),
    ],
)
def test_only_a_key_gets_through(header: bytes | None, status: int) -> None:
    asked = Asked().with_header(header)
    assert asked.sent[0]["status"] == status
    assert asked.principal == (Principal() if status == 200 else None)


def test_the_principal_is_the_one_whose_key_it_is() -> None:
    assert Asked().with_header(b"Bearer alice's").principal == Principal("alice")


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/", "/docs/swagger-ui.css"])
def test_what_describes_the_api_needs_no_key(path: str) -> None:
    asked = Asked(path).with_header(None)
    assert (asked.sent[0]["status"], asked.principal) == (200, None)
    assert Asked(path).with_header(b"alice's").principal == Principal("alice")


@pytest.mark.parametrize("path", ["/", "/openapi.jsonx", "/openapi.json/x", "/docs2", "/v2/docs/", "//docs/", "/Docs"])
def test_all_else_does(path: str) -> None:
    assert Asked(path).with_header(None).sent[0]["status"] == 401


def test_a_websocket_without_a_key_is_denied_before_it_is_accepted() -> None:
    extensions = {"websocket.http.response": {}}
    told = Asked("/lb/x", "websocket", extensions=extensions).with_header(b"wrong").sent
    assert [message["type"] for message in told] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert told[0]["status"] == 401
    assert b"invalid api key" in told[1]["body"]
    assert Asked("/lb/x", "websocket").with_header(None).sent == [{"type": "websocket.close", "code": 1008}]
    assert Asked("/lb/x", "websocket", extensions=extensions).with_header(b"secret").principal == Principal()


def test_whose_key_it_is(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "flash.db")
    keys = ApiKeys(tmp_path / "api_keys.json", Catalog(store))
    workers = [WorkerKey("worker-1", "w-1", "alice"), WorkerKey("worker-2", "w-2", OWNER, "/p")]
    ring = Keyring("secret", lambda: workers, keys)
    _, made = asyncio.run(keys.create("bob", name="laptop"))
    assert ring.principal(b"secret") == Principal()
    assert ring.principal(b"worker-1") == Principal("alice", worker="w-1", project="")
    second = ring.principal(b"worker-2")
    assert second == Principal(worker="w-2", project="/p")
    assert not second.is_admin
    assert ring.principal(made.encode()) == Principal("bob")
    for wrong in (b"", b"secre", b"worker-3", made.encode()[:-1], b"\xff"):
        assert ring.principal(wrong) is None
    workers.clear()
    assert ring.principal(b"worker-1") is None
    store.close()
