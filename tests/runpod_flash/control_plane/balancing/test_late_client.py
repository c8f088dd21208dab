"""What is heavy loads when it is needed."""

import json
from pathlib import Path

import pytest

from runpod_flash.control_plane.balancing.late_client import LateClient
from tests.support.balanced import Recorder, serving
from tests.support.place import Place


def test_the_gateway_can_be_there_without_the_http_client(tmp_path: Path) -> None:
    modules = "gateway", "health", "hosts", "late_client", "loads", "picking"
    imports = "\n".join(f"import runpod_flash.control_plane.balancing.{name}" for name in modules)
    asked = f"{imports}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(Place.below(tmp_path).run(["-B", "-c", asked]).good().stdout))
    assert "runpod_flash.control_plane.balancing.gateway" in loaded
    assert not loaded & {"aiohttp", "yarl", "multidict"}


@pytest.mark.anyio
async def test_it_opens_once_and_again_after_it_was_closed() -> None:
    late = LateClient()
    await late.close()
    first = await late.get()
    assert await late.get() is first
    async with serving(Recorder()) as port:
        assert await late.status(f"http://127.0.0.1:{port}/ping", 5) == 200
    await late.close()
    assert first.client.session.closed
    assert await late.get() is not first
    await late.close()
