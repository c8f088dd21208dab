"""Routes come to the platform: found on their own workers, refused where nothing can serve them."""

from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint, settings
from runpod_flash.agreement import provision
from runpod_flash.backends.inline import InlineBackend, platform_of
from runpod_flash.errors import BackendError, ConfigError, EndpointNotFound
from runpod_flash.output import Output
from tests.support.inline import inline_session


def api(name: str = "api", **more: Any) -> Endpoint:
    made = Endpoint(name=name, cpu="cpu3c-1-2", **more)

    @made.get("/x")
    def x() -> int:
        return 1

    return made


def test_a_platform_that_serves_no_routes_says_so(tmp_path: Path) -> None:
    with inline_session(tmp_path):
        for ask in (lambda: api().get.blocking("/x"), lambda: api().provision.blocking()):
            with pytest.raises(BackendError, match="routes of endpoint 'api' cannot be served by this target"):
                ask()


def test_on_a_worker_of_the_endpoint_it_is_found_and_never_made(tmp_path: Path) -> None:
    with inline_session(tmp_path) as session:
        token = settings.serving.set("api")
        try:
            with pytest.raises(EndpointNotFound, match="no endpoint 'api'"):
                session.run(session.serve(api()._table))
        finally:
            settings.serving.reset(token)
        assert platform_of(session.settings).endpoints == {}


def test_a_function_that_becomes_routes_is_another_endpoint(tmp_path: Path) -> None:
    spec = Endpoint(name="both", cpu="cpu3c-1-2").spec
    with inline_session(tmp_path) as session:
        platform = platform_of(session.settings)
        backend = InlineBackend(platform)
        first = session.run(provision(backend, spec, Output()))
        second = session.run(provision(backend, spec, Output(), artifact="0" * 64))
        third = session.run(provision(backend, spec, Output(), artifact="1" * 64))
        (body,) = [endpoint.body for endpoint in platform.endpoints.values()]
    assert first.id != second.id == third.id
    assert (body["type"], body["artifact"], body["scaling"]["type"]) == ("LOAD_BALANCER", "1" * 64, "REQUEST_COUNT")
    assert body["workers"] == {"min": 0, "max": 1, "idleTimeout": 60}


def test_two_sets_of_routes_with_one_name_must_not_differ() -> None:
    from runpod_flash.agreement import Declarations
    from runpod_flash.route_types import code_of

    known, one, other = Declarations(), api(), api(workers=3)
    other._table.routes[0].function.__module__ = "elsewhere"
    first, second = code_of(one._table).target, code_of(other._table).target
    known.add(one.spec, first)
    with pytest.raises(ConfigError, match="declared twice with different options"):
        known.add(other.spec, second)
