"""One POST over a real socket: what is sent, what counts as accepted, and what is never connected to."""

import asyncio
import re
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.webhook_sender import WebhookSender, traceparent
from tests.support.receiver import HANG, Receiver, receiver

LOCAL = Limits(webhook_private=True)


def run(work: Callable[[Receiver, WebhookSender], Awaitable[None]], limits: Limits = LOCAL) -> None:
    async def with_both() -> None:
        async with receiver() as it, WebhookSender(limits) as sender:
            await work(it, sender)

    asyncio.run(asyncio.wait_for(with_both(), 30))


def test_what_the_receiver_gets() -> None:
    async def work(it: Receiver, sender: WebhookSender) -> None:
        assert await sender.post(it.url("/hook?a=%2B#part"), b'{"id": "j1"}', trace="j1") is None
        assert await sender.post(it.url("/hook").replace("//", "//us%20er:pass@"), b"{}", trace="j1") is None
        first, second = it.got
        assert (first.path, first.body) == ("/hook", {"id": "j1"})
        assert first.headers["Content-Type"] == "application/json"
        assert first.headers["Content-Length"] == "12"
        assert first.headers["Host"] == f"127.0.0.1:{it.port}"
        assert re.fullmatch(r"runpod-flash/[\w.]+", first.headers["User-Agent"])
        assert "Cookie" not in first.headers
        assert second.headers["Authorization"] == "Basic dXMgZXI6cGFzcw=="
        traces = [got.headers["traceparent"].split("-") for got in it.got]
        assert traces[0][1] == traces[1][1]
        assert traces[0][2] != traces[1][2]

    run(work)


def test_a_large_body_arrives_whole() -> None:
    async def work(it: Receiver, sender: WebhookSender) -> None:
        body = b'{"output": "' + b"a" * (20 * 1024**2) + b'"}'
        assert await sender.post(it.url(), body, trace="j") is None
        assert len(it.got[0].body["output"]) == 20 * 1024**2

    run(work)


@pytest.mark.parametrize(
    ("status", "said"), [(200, None), (204, None), (299, None), (302, "302"), (308, "308"), (500, "500")]
)
def test_any_2xx_is_an_acceptance_and_no_redirect_is_followed(status: int, said: str | None) -> None:
    async def work(it: Receiver, sender: WebhookSender) -> None:
        it.answers["/"] = [status]
        fault = await sender.post(it.url(), b"{}", trace="j")
        assert fault == (said and f"answered {said}")
        assert [got.path for got in it.got] == ["/"]

    run(work)


def test_a_receiver_that_hangs_is_given_up() -> None:
    async def work(it: Receiver, sender: WebhookSender) -> None:
        it.answers["/"] = [HANG]
        assert await sender.post(it.url(), b"{}", trace="j") == "no answer within 0.1 s"
        assert len(it.got) == 1

    run(work, Limits(webhook_private=True, webhook_timeout_s=0.1))


def test_no_fault_tells_a_secret_of_the_url() -> None:
    async def work(it: Receiver, sender: WebhookSender) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
            for url in (
                f"http://127.0.0.1:{port}/secret",
                f"http://user:s%C3%A9cret%E2%82%AC@127.0.0.1:{port}/",
                f"https://127.0.0.1:{it.port}/secret",
                "http://[::1/secret",
                "http://nowhere.invalid/secret",
            ):
                fault = await sender.post(url, b"{}", trace="j")
                assert fault
                assert "cret" not in fault

    run(work)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_loopback_is_refused_unless_allowed(host: str) -> None:
    async def work(it: Receiver, sender: WebhookSender) -> None:
        assert "not allowed" in str(await sender.post(it.url(host=host), b"{}", trace="j"))
        assert it.got == []

    run(work, Limits())


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let names have these addresses, one answer for each time that somebody asks. Returns who was asked for."""
    asked: list[str] = []
    left = list(answers)

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that has another address the second time finds nobody who asks a second time."""

    async def work(it: Receiver, sender: WebhookSender) -> None:
        asked = resolving(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
        assert await sender.post(it.url(host="receiver.example"), b"{}", trace="j") is None
        assert asked == ["receiver.example"]
        assert it.got[0].headers["Host"] == f"receiver.example:{it.port}"
        fault = await sender.post(it.url(host="receiver.example"), b"{}", trace="j")
        assert fault == "address 169.254.169.254 is not allowed for webhooks"

    run(work)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], []])
def test_a_name_with_one_address_that_is_not_allowed(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    async def work(it: Receiver, sender: WebhookSender) -> None:
        resolving(monkeypatch, addresses)
        assert re.search("not allowed|no address", str(await sender.post(it.url(host="a.example"), b"{}", trace="j")))
        assert it.got == []

    run(work, Limits())


def test_the_socket_itself_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where all checks before it have let an address through."""

    async def work(it: Receiver, sender: WebhookSender) -> None:
        monkeypatch.setattr("runpod_flash.control_plane.webhook_sender.refuse_addresses", lambda *_, **__: None)
        resolving(monkeypatch, ["127.0.0.1"])
        assert await sender.post(it.url(host="a.example"), b"{}", trace="j")
        assert it.got == []

    run(work, Limits())


def test_a_resolver_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        gate.wait(60)
        return []

    async def work(it: Receiver, sender: WebhookSender) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        hanging = [sender.post(it.url(host="slow.example"), b"{}", trace="j") for _ in range(50)]
        assert set(await asyncio.gather(*hanging)) == {"no answer within 0.1 s"}
        assert await asyncio.to_thread(lambda: 1) == 1

    try:
        run(work, Limits(webhook_private=True, webhook_timeout_s=0.1))
    finally:
        gate.set()


def test_a_trace_context_is_valid() -> None:
    found = {traceparent("j1") for _ in range(100)}
    assert len(found) == 100
    assert all(re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]", text) for text in found)
