"""Workers start before calls come: their endpoints are asked to load their code."""

import asyncio
import json
from dataclasses import replace

from flash_cli.builds.manifest import BuiltEndpoint
from flash_cli.dev.state import State
from flash_cli.dev.table import Table
from flash_cli.dev.upstream import Upstream
from flash_cli.dev.warming import Warming
from tests.support.balanced import serving, until
from tests.support.dev_server import Target
from worker_runtime.wire import PROTOCOL

ADD = BuiltEndpoint("add", "function", "add.py", "add", {"type": "QUEUE"}, artifact="a")
WEB = BuiltEndpoint("web", "routes", "web.py", "api", {"type": "LOAD_BALANCER"}, artifact="a")
BAD = replace(ADD, name="bad")
IMAGE = replace(ADD, name="image", kind="image", artifact=None)
STATE = State(
    Table.of([ADD, WEB, BAD, IMAGE]),
    {name: f"id-{name}" for name in ("add", "web", "bad", "image")},
    broken={"bad": "bad.py cannot be used"},
)


def test_code_that_can_be_used_is_asked_for_and_no_other() -> None:
    async def test() -> None:
        target = Target()
        async with serving(target) as port:
            target.port = port
            upstream = Upstream(target.address)
            warming = Warming(upstream)
            warming.warm(STATE, ["add", "web", "bad", "image", "gone"])
            await until(lambda: len(target.bodies) == 2)
            paths = sorted((scope["method"], scope["path"]) for scope in target.scopes)
            assert paths == [("GET", "/lb/id-web/ping"), ("POST", "/v2/id-add/run")]
            job = json.loads(next(body for body in target.bodies if body))
            assert job["input"] == {"flash": {"protocol": PROTOCOL, "check": True}}
            await warming.close()
            await upstream.close()

    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_target_that_is_away_disturbs_nobody() -> None:
    async def test() -> None:
        upstream = Upstream(Target().address)
        warming = Warming(upstream)
        warming.warm(STATE, ["add"])
        await asyncio.sleep(0)
        await warming.close()
        await upstream.close()

    asyncio.run(asyncio.wait_for(test(), 30))
