"""Whether workers can be asked."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runpod_flash.control_plane.balancing.health import Health, HealthChecks, health_url, next_health
from runpod_flash.control_plane.balancing.late_client import LateClient
from runpod_flash.control_plane.limits import Limits
from runpod_flash.errors import ConfigError
from tests.support.balanced import serving, until

STATUSES = st.sampled_from([None, 200, 204, 201, 301, 404, 500, 503])


@pytest.mark.parametrize(
    ("was", "status", "once", "in_time", "then"),
    [
        (Health.INITIALIZING, 200, False, True, Health.HEALTHY),
        (Health.INITIALIZING, 204, False, True, Health.INITIALIZING),
        (Health.INITIALIZING, None, False, True, Health.INITIALIZING),
        (Health.INITIALIZING, 500, False, True, Health.INITIALIZING),
        (Health.INITIALIZING, 204, False, False, Health.GIVEN_UP),
        (Health.INITIALIZING, 200, False, False, Health.HEALTHY),
        (Health.HEALTHY, 204, True, False, Health.INITIALIZING),
        (Health.HEALTHY, None, True, False, Health.UNHEALTHY),
        (Health.HEALTHY, 500, True, False, Health.UNHEALTHY),
        (Health.UNHEALTHY, 200, True, False, Health.HEALTHY),
        (Health.GIVEN_UP, 200, False, False, Health.GIVEN_UP),
    ],
)
def test_what_an_answer_says(was: Health, status: int | None, once: bool, in_time: bool, then: Health) -> None:
    assert next_health(was, status, once_healthy=once, in_time=in_time) is then


@given(st.lists(st.tuples(STATUSES, st.booleans()), max_size=20))
def test_a_worker_that_was_healthy_once_is_never_given_up_and_only_200_is_healthy(
    answers: list[tuple[int | None, bool]],
) -> None:
    health, once = Health.INITIALIZING, False
    for status, in_time in answers:
        health = next_health(health, status, once_healthy=once, in_time=in_time)
        once = once or health is Health.HEALTHY
        assert health is not Health.HEALTHY or status == 200
        assert not (once and health is Health.GIVEN_UP)
        assert once or health in (Health.INITIALIZING, Health.GIVEN_UP)


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, "http://127.0.0.1:8000/ping"),
        ({"PORT": "80"}, "http://127.0.0.1:8000/ping"),
        ({"PORT_HEALTH": "9000", "HEALTH_CHECK_PATH": "/health?deep=1"}, "http://127.0.0.1:9000/health?deep=1"),
        ({"PORT_HEALTH": "", "HEALTH_CHECK_PATH": ""}, "http://127.0.0.1:8000/ping"),
    ],
)
def test_where_health_is_told(env: dict[str, str], url: str) -> None:
    assert health_url(env, 8000) == url


@pytest.mark.parametrize(
    "env",
    [
        *({"PORT_HEALTH": port} for port in ("0", "65536", "-1", "x", "٣", "1@evil")),
        *({"HEALTH_CHECK_PATH": path} for path in ("ping", "@evil/ping", "/a b", "/ä", "/a\nb")),
    ],
)
def test_where_it_cannot_be(env: dict[str, str]) -> None:
    (name,) = env
    with pytest.raises(ConfigError, match=name):
        health_url(env, 8000)


class Pulse:
    """A worker's health path; answers the status that the test sets."""

    def __init__(self) -> None:
        self.status = 204

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Response(status_code=self.status)(scope, receive, send)


class Watched:
    """Health checks that poll quickly, and the changes that they told."""

    def __init__(self, **limits: Any) -> None:
        self.changes: list[tuple[str, Health]] = []
        self.late = LateClient()
        self.checks = HealthChecks(
            Limits(health_s=0.01, **limits), self.late, lambda worker, health: self.changes.append((worker, health))
        )

    async def close(self) -> None:
        await self.checks.close()
        await self.late.close()


@pytest.mark.anyio
async def test_a_worker_becomes_healthy_and_ill_and_well_again_and_vanishes() -> None:
    watched, pulse = Watched(), Pulse()
    async with serving(pulse) as port:
        watched.checks.watch("w1", f"http://127.0.0.1:{port}/ping")
        watched.checks.watch("w1", "http://127.0.0.1:1/again")
        assert watched.checks.health("w1") is Health.INITIALIZING
        for status, health in [
            (200, Health.HEALTHY), (500, Health.UNHEALTHY), (200, Health.HEALTHY), (204, Health.INITIALIZING),
            (200, Health.HEALTHY), (302, Health.UNHEALTHY), (200, Health.HEALTHY),
        ]:  # fmt: skip
            pulse.status = status
            await until(lambda health=health: watched.checks.health("w1") is health)
    await until(lambda: watched.checks.health("w1") is Health.UNHEALTHY)
    assert [health.name for _, health in watched.changes] == [
        "HEALTHY", "UNHEALTHY", "HEALTHY", "INITIALIZING", "HEALTHY", "UNHEALTHY", "HEALTHY", "UNHEALTHY",
    ]  # fmt: skip
    await watched.close()


@pytest.mark.anyio
async def test_a_worker_that_never_becomes_healthy_is_given_up() -> None:
    watched = Watched(init_s=0.05)
    async with serving(Pulse()) as port:
        watched.checks.watch("slow", f"http://127.0.0.1:{port}/ping")
    watched.checks.watch("absent", f"http://127.0.0.1:{port}/ping")
    await until(lambda: len(watched.changes) == 2)
    assert set(watched.changes) == {("slow", Health.GIVEN_UP), ("absent", Health.GIVEN_UP)}
    await watched.close()


@pytest.mark.anyio
async def test_nothing_is_told_of_a_worker_that_is_forgotten_and_nothing_goes_on_after_the_end() -> None:
    watched, pulse = Watched(), Pulse()
    async with serving(pulse) as port:
        for worker in ("w1", "w2"):
            watched.checks.watch(worker, f"http://127.0.0.1:{port}/ping")
        watched.checks.forget("w1")
        watched.checks.forget("w1")
        pulse.status = 200
        await until(lambda: watched.changes)
        assert watched.changes == [("w2", Health.HEALTHY)]
        await watched.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("health of")]
