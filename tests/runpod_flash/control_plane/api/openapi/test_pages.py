"""The document and its page, as they are served: without a key, from here alone."""

import re

import httpx
import pytest

from runpod_flash.control_plane.api.openapi.pages import OpenApi
from tests.support.plane_app import PlaneApp


def stranger(plane: PlaneApp, base_url: str = "http://plane") -> httpx.AsyncClient:
    """A client without a key."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(plane.app), base_url=base_url)


@pytest.mark.parametrize("path", ["/openapi.json", "/v2/openapi.json"])
async def test_the_document_needs_no_key_and_names_the_url_that_was_asked(plane: PlaneApp, path: str) -> None:
    async with stranger(plane, "https://box.example:8443") as client:
        response = await client.get(path)
    assert response.status_code == 200
    document = response.json()
    assert [server["url"] for server in document["servers"]] == ["https://box.example:8443"]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert "/v2/{endpoint}/run" in document["paths"]
    assert document["paths"]["/docs"]["get"]["security"] == []


async def test_all_that_the_page_asks_for_is_there(plane: PlaneApp) -> None:
    async with stranger(plane) as client:
        page = await client.get("/docs")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        asked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert {"docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "docs/start.js"} <= set(asked)
        for path in asked:
            file = await client.get(f"/{path}")
            assert file.status_code == 200
            assert len(file.content) > 100
        script = (await client.get("/docs/start.js")).text
        assert (await client.get("/" + re.findall(r'url: "([^"]+)"', script)[0])).status_code == 200


async def test_a_browser_may_load_nothing_else(plane: PlaneApp) -> None:
    async with stranger(plane) as client:
        page = await client.get("/docs")
    policy = dict(rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "<script>" not in page.text
    assert "http" not in re.sub(r"<!DOCTYPE html>", "", page.text)
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["pages.py", "..%2fpages.py", "%2e%2e", "index.html", "swagger-ui-bundle.js.map", "%00"]
)
async def test_other_files_are_not_there(plane: PlaneApp, name: str) -> None:
    async with stranger(plane) as client:
        response = await client.get(f"/docs/{name}")
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


async def test_other_paths_need_a_key(plane: PlaneApp) -> None:
    async with stranger(plane) as client:
        assert (await client.get("/v2/serverless")).status_code == 401
        assert (await client.get("/openapi.jsonx")).status_code == 401
        assert (await client.post("/docs")).status_code == 405


def test_it_is_built_once() -> None:
    face = OpenApi([])
    assert face.document is face.document
    assert face.document["paths"].keys() == {"/openapi.json", "/v2/openapi.json", "/docs", "/docs/{file}"}
