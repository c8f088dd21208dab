"""Endpoints are on the platform as they are declared: found, changed in place, made."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint, PodTemplate
from runpod_flash.agreement import provision
from runpod_flash.backends.base import Json
from runpod_flash.backends.inline import InlineBackend, InlinePlatform, platform_of
from runpod_flash.errors import BackendError, ConfigError
from runpod_flash.output import Output
from runpod_flash.spec import OPTIONAL
from tests.support.inline import inline_session

CPU: Any = {"cpu": "cpu3c-2-4"}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[InlinePlatform]:
    with inline_session(tmp_path) as session:
        yield platform_of(session.settings)


def body_of(platform: InlinePlatform) -> dict[str, Any]:
    (endpoint,) = platform.endpoints.values()
    return endpoint.body


def test_the_same_options_reuse_others_change_in_place(platform: InlinePlatform) -> None:
    def declare(**options: Any) -> Any:
        @Endpoint("work", **CPU, **options)
        def work() -> int:
            return 1

        return work

    declare().remote()
    (first,) = platform.endpoints
    declare().remote()
    declare(workers=3).remote()
    assert body_of(platform)["workers"]["max"] == 3
    declare(workers=3, env={"A": "b"}).remote()
    assert body_of(platform)["env"] == {"A": "b"}
    assert list(platform.endpoints) == [first]


def test_what_a_template_said_is_taken_back_with_it(platform: InlinePlatform) -> None:
    def declare(**options: Any) -> Any:
        @Endpoint("work", **CPU, **options)
        def work() -> int:
            return 1

        return work

    declare(template=PodTemplate(dockerArgs="a", ports="80/http")).remote()
    assert (body_of(platform)["args"], body_of(platform)["ports"]) == ("a", ["80/http"])
    declare(template=PodTemplate(dockerArgs="b")).remote()
    assert body_of(platform)["args"] == "b"
    assert body_of(platform).get("ports") is None
    declare().remote()
    assert not [key for key in OPTIONAL if body_of(platform).get(key) is not None]


def test_an_idle_timeout_that_is_not_sent_is_said(platform: InlinePlatform, capsys: pytest.CaptureFixture[str]) -> None:
    for number, options in enumerate((
        {"idle_timeout": 5}, {"idle_timeout": 60, "scaler_type": "REQUEST_COUNT"},
        {"idle_timeout": 5, "scaler_type": "REQUEST_COUNT"},
    )):  # fmt: skip
        Endpoint(f"e{number}", **CPU, **options).provision()  # type: ignore[arg-type]
    said = [line for line in capsys.readouterr().err.splitlines() if "is not sent" in line]
    assert len(said) == 1
    assert "idle_timeout=5 of endpoint 'e2'" in said[0]


def test_two_functions_with_one_name_must_not_differ(platform: InlinePlatform) -> None:
    @Endpoint("shared", **CPU)
    def one() -> int:
        return 1

    @Endpoint("shared", **CPU)
    def same() -> int:
        return 2

    @Endpoint("shared", **CPU, workers=4)
    def different() -> int:
        return 3

    assert (one.remote(), same.remote()) == (1, 2)
    with pytest.raises(
        ConfigError, match=r"'shared' is declared twice with different options, by .*one and .*different"
    ):
        different.remote()
    assert len(platform.endpoints) == 1


def test_who_is_second_to_make_an_endpoint_takes_that_of_the_first() -> None:
    class Raced(InlineBackend):
        async def create(self, body: Json) -> Json:
            await super().create(body)
            raise BackendError("there is one already")

    async def main() -> None:
        backend, spec = Raced(InlinePlatform()), Endpoint("x", **CPU).spec
        (made,) = {(await provision(backend, spec, Output())).id for _ in range(2)}
        assert list(backend._platform.endpoints) == [made]

    asyncio.run(main())


def test_another_compute_family_is_another_endpoint(capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        backend = InlineBackend(InlinePlatform())
        first = (await provision(backend, Endpoint("x", **CPU).spec, Output())).id
        second = (await provision(backend, Endpoint("x", gpu="any").spec, Output())).id
        assert list(backend._platform.endpoints) == [second] != [first]

    asyncio.run(main())
    assert "changes between gpu= and cpu=, so it is made anew" in capfd.readouterr().err
