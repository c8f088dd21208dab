"""Finding a worker: waiting, affinity, spreading, draining, refusals."""

import asyncio
from typing import Any

import aiohttp
import pytest
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from runpod_flash.control_plane.balancing.gateway import Gateway
from runpod_flash.control_plane.balancing.late_client import LateClient
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.problems import Problem
from runpod_flash.errors import AuthError
from tests.support.balanced import ENDPOINT, Balanced, FewWorkers, Recorder, balanced, serving, until

pytestmark = pytest.mark.anyio

QUICK = Limits(balanced_wait_s=0.1, affinity_wait_s=0.2)


async def ask(plane: Balanced, affinity: str | None = None) -> tuple[int, Any]:
    """The status, and the text of an answer or the body of a problem."""
    headers = {} if affinity is None else {"X-Runpod-Worker-Id": affinity}
    async with plane.client.get(plane.url("/x"), headers=headers) as response:
        if response.content_type == "application/problem+json":
            return response.status, await response.json(content_type=None)
        assert response.headers["X-Runpod-Worker-Id"] == await response.text()
        return response.status, await response.text()


async def upgrade(plane: Balanced, affinity: str = "") -> int:
    """The status of a refused websocket."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await plane.client.ws_connect(plane.url("/x", "ws"), headers={"X-Runpod-Worker-Id": affinity})
    return refused.value.status


class Gate:
    """An application whose requests wait until the test lets them go."""

    def __init__(self, name: str) -> None:
        self.open = asyncio.Event()
        self.running = 0
        self._recorder = Recorder(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.running += 1
        await self.open.wait()
        await self._recorder(scope, receive, send)


async def test_requests_wait_for_the_first_worker(plane: Balanced) -> None:
    asking = [asyncio.create_task(ask(plane)) for _ in range(3)]
    await until(lambda: plane.load == (0, 3))
    async with serving(Recorder()) as port:
        plane.add("w1", port, healthy=False)
        await asyncio.sleep(0)
        assert plane.load == (0, 3)
        plane.change("w1", healthy=True)
        assert await asyncio.gather(*asking) == [(200, "w1")] * 3
    await until(lambda: plane.load == (0, 0))
    assert (0, 3) in plane.changes
    assert plane.changes[-1] == (0, 0)
    totals = [in_flight + waiting for in_flight, waiting in plane.changes]
    assert totals[:3] == [1, 2, 3]
    assert 0 not in totals[:-1]


async def test_a_request_that_waits_too_long_is_told_so(anyio_backend: str) -> None:
    async with balanced(QUICK) as plane:
        plane.add("w1", 1, healthy=False)
        status, problem = await ask(plane)
        assert status == 400
        assert problem == {
            "status": 400, "title": "Bad Request", "detail": "timed out waiting for worker", "code": "worker_timeout",
            "error": "timed out waiting for worker",
        }  # fmt: skip
        assert await upgrade(plane) == 400


async def test_where_no_worker_will_come_it_is_told_at_once(plane: Balanced) -> None:
    plane.workers.reason = "no workers available"
    assert (await ask(plane))[1]["error"] == "no workers available"
    assert (await ask(plane))[0] == await upgrade(plane) == 400
    plane.workers.reason = None
    waiting = asyncio.create_task(ask(plane))
    await until(lambda: plane.load == (0, 1))
    plane.workers.reason = "no worker could start"
    plane.gateway.changed(ENDPOINT)
    assert (await waiting)[1]["detail"] == "no worker could start"


async def test_a_living_worker_counts_more_than_the_reason_why_none_comes(plane: Balanced) -> None:
    plane.workers.reason = "no workers available"
    async with serving(Recorder()) as port:
        plane.add("w1", port)
        assert await ask(plane) == (200, "w1")


async def test_affinity(anyio_backend: str) -> None:
    async with balanced(QUICK) as plane, serving(Recorder("w1")) as one, serving(Recorder("w2")) as two:
        plane.add("w1", one)
        plane.add("w2", two)
        for header in ("w2", "strict w2", "strict-resume w2"):
            assert [await ask(plane, header) for _ in range(3)] == [(200, "w2")] * 3
        assert {(await ask(plane, header))[1] for header in ("", "") for _ in range(2)} == {"w1", "w2"}
        assert (await ask(plane, "absent"))[0] == 200
        plane.change("w2", healthy=False)
        assert await ask(plane, "w2") == (200, "w1")
        for header in ("strict w2", "strict-resume w2"):
            status, problem = await ask(plane, header)
            assert (status, problem["code"], problem["error"]) == (
                400,
                "worker_timeout",
                "timed out waiting for worker",
            )
        plane.remove("w2")
        assert await ask(plane, "w2") == (200, "w1")
        for header in ("strict w2", "strict-resume w2"):
            status, problem = await ask(plane, header)
            assert (status, problem["code"], problem["error"]) == (404, "affinity_worker_gone", "affinity_worker_gone")
            assert await upgrade(plane, header) == 404
        status, problem = await ask(plane, "some w2")
        assert (status, "X-Runpod-Worker-Id" in problem["detail"]) == (400, True)


async def test_who_insists_on_a_worker_waits_for_it(plane: Balanced) -> None:
    async with serving(Recorder("w1")) as one, serving(Recorder("w2")) as two:
        plane.add("w1", one, healthy=False)
        plane.add("w2", two)
        waiting = [asyncio.create_task(ask(plane, "strict w1")) for _ in range(2)]
        await until(lambda: plane.load == (0, 2))
        plane.change("w1", healthy=True)
        assert await asyncio.gather(*waiting) == [(200, "w1")] * 2
        plane.change("w1", healthy=False)
        waits = asyncio.create_task(ask(plane, "strict w1"))
        await until(lambda: plane.load == (0, 1))
        plane.change("w1", draining=True)
        assert (await waits)[0] == 404


async def test_two_hundred_requests_at_once_are_spread_evenly(plane: Balanced) -> None:
    gates = [Gate(f"w{number}") for number in range(4)]
    async with serving(gates[0]) as a, serving(gates[1]) as b, serving(gates[2]) as c, serving(gates[3]) as d:
        for number, port in enumerate((a, b, c, d)):
            plane.add(f"w{number}", port)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as client:

            async def get() -> str:
                async with client.get(plane.url("/x")) as response:
                    return await response.text()

            asking = [asyncio.create_task(get()) for _ in range(200)]
            await until(lambda: sum(gate.running for gate in gates) == 200, 30)
            assert [gate.running for gate in gates] == [50] * 4
            assert plane.load == (200, 0)
            for gate in gates:
                gate.open.set()
            names = await asyncio.gather(*asking)
        assert sorted(names) == sorted(f"w{number}" for number in range(4) for _ in range(50))


async def test_single_requests_are_spread_too(plane: Balanced) -> None:
    async with serving(Recorder("w1")) as one, serving(Recorder("w2")) as two:
        plane.add("w1", one)
        plane.add("w2", two)
        names = [(await ask(plane))[1] for _ in range(6)]
    assert names == names[:2] * 3
    assert set(names) == {"w1", "w2"}


async def test_a_worker_that_shall_end_gets_nothing_new_and_tells_when_it_is_idle(plane: Balanced) -> None:
    gate = Gate("w1")
    async with serving(gate) as one, serving(Recorder("w2")) as two:
        plane.add("w1", one)
        running = asyncio.create_task(ask(plane))
        await until(lambda: gate.running)
        plane.change("w1", draining=True)
        plane.add("w2", two)
        assert [await ask(plane) for _ in range(3)] == [(200, "w2")] * 3
        idle = asyncio.create_task(plane.gateway.loads.idle("w1"))
        await asyncio.sleep(0)
        assert not idle.done()
        gate.open.set()
        assert await running == (200, "w1")
        await asyncio.wait_for(idle, 5)


async def test_a_client_that_leaves_while_it_waits_waits_no_more(plane: Balanced) -> None:
    asking = asyncio.create_task(ask(plane))
    await until(lambda: plane.load == (0, 1))
    asking.cancel()
    await until(lambda: plane.load == (0, 0))


async def test_at_the_end_who_waits_is_sent_away(plane: Balanced) -> None:
    waiting = asyncio.create_task(ask(plane))
    await until(lambda: plane.load == (0, 1))
    plane.gateway.close()
    assert (await waiting)[0] == (await ask(plane))[0] == 503
    assert await upgrade(plane) == 503


@pytest.mark.parametrize(("error", "status"), [(AuthError("no"), 401), (Problem(403, "no", code="AuthError"), 403)])
async def test_who_may_not_is_refused(anyio_backend: str, error: Exception, status: int) -> None:
    asked: list[tuple[str, str]] = []

    def authorize(connection: HTTPConnection, endpoint_id: str) -> None:
        asked.append((connection.scope["type"], endpoint_id))
        raise error

    async with balanced(authorize=authorize) as plane:
        plane.add("w1", 1)
        assert await upgrade(plane) == status
        assert (await ask(plane))[1]["code"] == "AuthError"
        assert plane.changes == []
    assert asked == [("websocket", ENDPOINT), ("http", ENDPOINT)]


async def test_a_server_that_cannot_refuse_a_websocket_with_a_status_closes_it() -> None:
    def authorize(connection: HTTPConnection, endpoint_id: str) -> None:
        raise Problem(403, "no")

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    sent: list[dict[str, Any]] = []
    gateway = Gateway(FewWorkers(), Limits(), LateClient(), authorize)
    await gateway.handle({"type": "websocket", "headers": []}, receive, send, ENDPOINT, b"/")
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_request_that_reaches_nobody_goes_to_another_worker_when_that_one_has_ended(plane: Balanced) -> None:
    async with serving(Recorder("w2")) as port:
        plane.add("w1", 1)  # nobody takes connections there
        asking = asyncio.create_task(ask(plane))
        await until(lambda: plane.load == (1, 0))
        plane.add("w2", port)
        await asyncio.sleep(0.05)
        assert not asking.done()
        plane.remove("w1")
        assert await asking == (200, "w2")


async def test_one_that_nobody_takes_though_the_worker_lives_is_told_so(plane: Balanced) -> None:
    plane.add("w1", 1)
    status, problem = await ask(plane)
    assert (status, problem["status"]) == (502, 502)
    assert "nobody takes connections" in problem["detail"]


async def test_workers_are_waited_for_by_those_alone_whom_none_takes(plane: Balanced) -> None:
    async with serving(Recorder()) as port:
        plane.add("w1", port)
        await ask(plane)
        assert plane.workers.waited_for == 0
        plane.change("w1", healthy=False)
        asking = asyncio.create_task(ask(plane))
        await until(lambda: plane.load == (0, 1))
        assert plane.workers.waited_for == 1
        plane.change("w1", healthy=True)
        await asking
