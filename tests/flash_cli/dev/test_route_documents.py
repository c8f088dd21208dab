"""What endpoints that answer requests say of their routes: asked once a version, of those that were called."""

import asyncio
from dataclasses import replace

from flash_cli.builds.manifest import BuiltEndpoint
from flash_cli.dev.route_documents import RouteDocuments
from flash_cli.dev.state import State
from flash_cli.dev.table import Table
from flash_cli.dev.upstream import Upstream
from tests.support.balanced import serving
from tests.support.dev_server import Target

WEB = BuiltEndpoint("web", "routes", "web.py", "api", {"type": "LOAD_BALANCER"}, artifact="a1")


def state(*endpoints: BuiltEndpoint) -> State:
    return State(Table.of(endpoints), {each.name: f"id-{each.name}" for each in endpoints})


def test_a_version_is_asked_once() -> None:
    async def test() -> None:
        target = Target(job={"openapi": "3.1.0", "paths": {"/x": {}}})
        async with serving(target) as port:
            target.port = port
            upstream = Upstream(target.address)
            documents = RouteDocuments(upstream)
            other = replace(WEB, name="other", artifact="a2")
            now = state(WEB, other)
            for _ in range(2):
                assert await documents.of(now, ["web", "nobody"]) == {"web": target.job}
            assert [scope["path"] for scope in target.scopes] == ["/lb/id-web/openapi.json"]
            await documents.of(state(replace(WEB, artifact="a3")), ["web"])
            assert len(target.scopes) == 2
            await upstream.close()

    asyncio.run(asyncio.wait_for(test(), 30))


def test_what_is_no_document_is_left_out() -> None:
    async def test() -> None:
        target = Target(job={"detail": "not found"})
        async with serving(target) as port:
            target.port = port
            upstream = Upstream(target.address)
            assert await RouteDocuments(upstream).of(state(WEB), ["web"]) == {}
            await upstream.close()

    asyncio.run(asyncio.wait_for(test(), 30))
