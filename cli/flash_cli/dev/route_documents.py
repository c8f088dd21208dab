"""What endpoints that answer requests themselves say of their routes: OpenAPI, asked of those that were called already.

Asking starts workers where none runs, so others are described by the names of their routes alone.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from flash_cli.dev.state import State
from flash_cli.dev.table import is_balanced
from flash_cli.dev.upstream import FAULTS, Request, Upstream
from runpod_flash.errors import FlashError

_PATIENCE_S: Final = 2.0
_MOST_BYTES: Final = 4 * 1024**2

Document = Mapping[str, Any]


class RouteDocuments:
    """Asks each version of an endpoint once."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._known: dict[str, Document] = {}

    async def of(self, state: State, names: Iterable[str]) -> Mapping[str, Document]:
        """The documents of these endpoints, by name, as far as they come in time."""
        artifacts = {name: state.table.endpoints[name].artifact for name in names if name in state.table.endpoints}
        wanted = {name: artifact for name, artifact in artifacts.items() if artifact is not None and name in state.ids}
        balanced = {name: key for name, key in wanted.items() if is_balanced(state.table.endpoints[name])}
        await asyncio.gather(
            *(
                self._ask(state.ids[name], artifact)
                for name, artifact in balanced.items()
                if artifact not in self._known
            )
        )
        return {name: self._known[artifact] for name, artifact in balanced.items() if artifact in self._known}

    async def _ask(self, endpoint_id: str, artifact: str) -> None:
        asked = Request("GET", f"/lb/{quote(endpoint_id)}/openapi.json", [("Accept", "application/json")])
        try:
            async with asyncio.timeout(_PATIENCE_S), self._upstream.request(asked) as answer:
                body = await answer.content.read(_MOST_BYTES) if answer.status == 200 else b""
                found = json.loads(body) if body else None
        except (FlashError, TimeoutError, *FAULTS):
            return
        if isinstance(found, dict) and isinstance(found.get("paths"), dict):
            self._known[artifact] = found


def operation(document: Document, method: str, path: str) -> dict[str, Any] | None:
    """What a document says of a route; None where nothing."""
    methods = document["paths"].get(path)
    found = methods.get(method.lower()) if isinstance(methods, dict) else None
    return found if isinstance(found, dict) else None


def schemas(document: Document) -> Mapping[str, Any]:
    """The schemas that it refers to."""
    components = document.get("components")
    found = components.get("schemas") if isinstance(components, dict) else None
    return found if isinstance(found, dict) else {}


def below(name: str, value: Any) -> Any:
    """A part of a document whose references lead to `name.SCHEMA`, so that endpoints do not mix."""
    if isinstance(value, dict):
        return {key: _led(name, each) if key == "$ref" else below(name, each) for key, each in value.items()}
    if isinstance(value, list):
        return [below(name, each) for each in value]
    return value


def _led(name: str, reference: Any) -> Any:
    base = "#/components/schemas/"
    if isinstance(reference, str) and reference.startswith(base):
        return f"{base}{name}.{reference.removeprefix(base)}"
    return reference
