"""The OpenAPI document of a project."""

import json
from dataclasses import replace

from flash_cli.builds.manifest import BuiltEndpoint, BuiltRoute
from flash_cli.dev import document
from flash_cli.dev.table import Table
from worker_runtime.wire.interface import Interface, Parameter

INTERFACE = Interface(
    {"": (Parameter("text", schema={"type": "string"}), Parameter("n", required=False, schema={"type": "integer"}))},
    {"": "Say it.\n\nSeveral times."},
)
SAY = BuiltEndpoint("say", "function", "say.py", "say", {"type": "QUEUE"}, interface=INTERFACE)
WEB = BuiltEndpoint(
    "web", "routes", "web.py", "api", {"type": "LOAD_BALANCER"}, doc="The web.",
    routes=(BuiltRoute("GET", "/items/{id:int}", "item", "One item."), BuiltRoute("POST", "/items", "make")),
)  # fmt: skip


def test_parameters_and_docstrings_are_in_it() -> None:
    found = document.of(Table.of([SAY, WEB]), "http://localhost:8888")
    json.dumps(found)
    call = found["paths"]["/say/runsync"]["post"]
    assert (call["summary"], call["description"]) == ("Say it.", "Several times.\n\nRun it and wait for its end.")
    schema = call["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["input"]
    assert schema["properties"]["input"] == {
        "type": "object",
        "properties": {"text": {"type": "string"}, "n": {"type": "integer"}},
        "required": ["text"],
        "additionalProperties": False,
    }
    assert {"/say/run", "/say/status/{job}", "/say/stream/{job}", "/say/health"} <= found["paths"].keys()


def test_routes_are_in_it_with_their_path_parameters() -> None:
    found = document.of(Table.of([WEB]), "http://localhost:8888")
    item = found["paths"]["/web/items/{id}"]["get"]
    assert item["summary"] == "One item."
    assert item["parameters"] == [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}]
    assert "post" in found["paths"]["/web/items"]
    assert found["tags"] == [{"name": "web", "description": "The web."}]


def test_any_keyword_may_be_any_name() -> None:
    rest = replace(SAY, interface=Interface({"": (Parameter("options", "rest", required=False),)}))
    found = document.of(Table.of([rest]), "")
    schema = found["paths"]["/say/runsync"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["input"]["additionalProperties"] is True
    assert schema["properties"]["input"]["properties"] == {}


def test_what_an_endpoint_says_of_its_routes_is_taken_over() -> None:
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}}}
    own = {
        "paths": {
            "/items/{id}": {"get": {"summary": "Item", "parameters": [{"name": "id", "in": "path"}]}},
            "/items": {"post": {"requestBody": body}},
        },
        "components": {"schemas": {"Item": {"properties": {"parent": {"$ref": "#/components/schemas/Item"}}}}},
    }
    found = document.of(Table.of([WEB]), "", {"web": own})
    assert found["paths"]["/web/items/{id}"]["get"]["summary"] == "Item"
    schema = found["paths"]["/web/items"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/web.Item"}
    item = found["components"]["schemas"]["web.Item"]
    assert item["properties"]["parent"] == {"$ref": "#/components/schemas/web.Item"}
    assert "Item" not in found["components"]["schemas"]


def test_a_whole_application_says_itself_what_it_has() -> None:
    whole = replace(WEB, routes=())
    assert list(document.of(Table.of([whole]), "")["paths"]) == ["/web/"]
    own = {"paths": {"/x/{n}": {"get": {"summary": "X"}}}}
    found = document.of(Table.of([whole]), "", {"web": own})
    assert found["paths"] == {"/web/x/{n}": {"get": {"summary": "X", "tags": ["web"]}}}
