"""What a deploy changes: the endpoints that a stage has, and those that it shall have. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from runpod_flash.control_plane.catalog import rolls
from runpod_flash.control_plane.records import EndpointRecord


class ChangeKind(StrEnum):
    """What happens to an endpoint."""

    CREATE = "create"
    UPDATE = "update"  # in place: its workers stay
    ROLL = "roll"  # new workers take the place of its old ones
    REMOVE = "remove"
    KEEP = "keep"  # nothing
    LEFT = "left"  # nothing, and the deploy does not know it


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one endpoint. `body` is what it shall have; `id` is None where it is still to be made."""

    endpoint: str
    kind: ChangeKind
    id: str | None
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def needs_environment(self) -> bool:
        """Whether new workers start for it."""
        return self.kind in (ChangeKind.CREATE, ChangeKind.ROLL)


def changes(
    existing: Sequence[EndpointRecord], wanted: Sequence[Mapping[str, Any]], removes: Callable[[str], bool]
) -> list[Change]:
    """What leads from the endpoints of a stage to these bodies, in their order; then what goes, or is left.

    An endpoint keeps its type, and whether it has code of its own: where that changes, it is removed and made anew,
    with another id. `removes` says of the name of an endpoint that is not wanted whether it goes.
    """
    there = {record.name: record for record in existing}
    found = [change for body in wanted for change in _of(there.get(body["name"]), body)]
    names = {body["name"] for body in wanted}
    for record in existing:
        if record.name not in names:
            kind = ChangeKind.REMOVE if removes(record.name) else ChangeKind.LEFT
            found.append(Change(record.name, kind, record.id))
    return found


def _of(record: EndpointRecord | None, body: Mapping[str, Any]) -> Iterator[Change]:
    name = body["name"]
    if record is None:
        yield Change(name, ChangeKind.CREATE, None, body)
    elif record.body["type"] != body["type"] or ("artifact" in record.body) != ("artifact" in body):
        yield Change(name, ChangeKind.REMOVE, record.id)
        yield Change(name, ChangeKind.CREATE, None, body)
    elif record.body == body:
        yield Change(name, ChangeKind.KEEP, record.id, body)
    else:
        kind = ChangeKind.ROLL if rolls(record.body, body) else ChangeKind.UPDATE
        yield Change(name, kind, record.id, body)
