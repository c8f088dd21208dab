"""Reading requests over a real connection: a body that is too large is answered, not cut off."""

import pytest

from tests.support.plane_app import PlaneApp, served

pytestmark = pytest.mark.anyio


async def test_a_large_body_is_answered(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    async with served(plane) as client:
        response = await client.post(f"/v2/{endpoint}/run", content=b"x" * 30_000_000)
        assert response.status_code == 413
        again = await client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}})
        assert again.status_code == 200
