"""Who finds which endpoint, and whose event stream is whose."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from runpod_flash.control_plane.api.access import Access, client_of, principal_of, stream_of
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.principals import OWNER, PRINCIPAL, Need, Principal, Scope
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.store import Store
from runpod_flash.errors import EndpointNotFound

pytestmark = pytest.mark.anyio
BODY = {"name": "n", "type": "QUEUE"}


def request(principal: Principal | None, endpoint: str = "", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "headers": raw, "path_params": {"endpoint": endpoint}}
    return Request(scope if principal is None else {**scope, PRINCIPAL: principal})


async def test_who_finds_what(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "flash.db")
    catalog = Catalog(store)
    access = Access(catalog)
    mine, alices, bobs = [(await catalog.create("", BODY, user)).id for user in (OWNER, "alice", "bob")]
    only = Principal("alice", Scope.ENDPOINT, frozenset([alices, bobs]))
    for principal, found in (
        (Principal(), [mine, alices, bobs]),
        (Principal(worker="w"), [mine]),
        (Principal("alice"), [alices]),
        (Principal("alice", worker="w"), [alices]),
        (Principal("alice", Scope.READ_ONLY), [alices]),
        (only, [alices]),
        (Principal("carol"), []),
    ):
        sees = access.sees(request(principal))
        for endpoint in (mine, alices, bobs, "gone"):
            assert sees(endpoint) is (endpoint in found)
            if endpoint in found:
                assert access.endpoint(request(principal, endpoint), Need.READ).id == endpoint
                assert access.endpoint(request(principal), Need.READ, endpoint).id == endpoint
                continue
            with pytest.raises(EndpointNotFound) as refused:
                access.endpoint(request(principal, endpoint), Need.READ)
            with pytest.raises(EndpointNotFound) as unknown:
                access.endpoint(request(principal, "nowhere"), Need.READ)
            assert str(refused.value) == str(unknown.value).replace("nowhere", endpoint)
    for principal, need in ((Principal("alice", Scope.READ_ONLY), Need.RUN), (only, Need.MANAGE)):
        with pytest.raises(Problem) as forbidden:
            access.endpoint(request(principal, alices), need)
        assert forbidden.value.status == 403
    store.close()


async def test_code_of_a_worker_changes_nothing_of_other_projects(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "flash.db")
    catalog = Catalog(store)
    access = Access(catalog)
    own, other = [(await catalog.create(project, BODY)).id for project in ("/a", "/b")]
    worker = request(Principal(worker="w", project="/a"))
    for need in Need:
        assert access.endpoint(worker, need, own).id == own
    assert access.endpoint(worker, Need.RUN, other).id == other  # by its URL
    with pytest.raises(Problem, match="its own project only") as refused:
        access.endpoint(worker, Need.MANAGE, other)
    assert refused.value.status == 403
    store.close()


def test_a_request_without_a_key_is_nobodys() -> None:
    with pytest.raises(Problem) as refused:
        principal_of(request(None))
    assert refused.value.status == 401


def test_the_client_of_a_request() -> None:
    assert client_of(request(Principal())) is None
    assert client_of(request(Principal(), x_flash_client="c")) == "c"
    assert client_of(request(Principal("alice"), x_flash_client="c")) == "alice/c"
    assert client_of(request(Principal("alice", worker="w"), x_flash_client="c")) == "alice/c"
    for bad in ("bob/c", "/", "c" * 256):
        with pytest.raises(Problem) as refused:
            client_of(request(Principal(), x_flash_client=bad))
        assert refused.value.status == 400


names = st.text(min_size=1)
users = st.one_of(st.just(OWNER), st.from_regex(r"[a-z0-9._-]{1,64}", fullmatch=True))


@given(users, names, users, names)
def test_nobody_hears_anothers_stream(one: str, client: str, two: str, other: str) -> None:
    try:
        streams = [stream_of(request(Principal(user)), name) for user, name in ((one, client), (two, other))]
    except Problem:
        assert "/" in client + other
    else:
        assert (streams[0] == streams[1]) is ((one, client) == (two, other))
