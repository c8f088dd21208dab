"""What the dev server serves at a moment, and who brings it up to date."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from flash_cli.dev.table import Table


@dataclass(frozen=True, slots=True)
class State:
    """What is served now.

    Attributes:
        table: the addresses.
        ids: the target's id of each endpoint by its name.
        broken: why an endpoint's code cannot be used, by its name.
        files: what is wrong with files, by their paths; those without any endpoint, too.
        problem: why nothing of the last edit could be taken up; "" where it was.
    """

    table: Table = field(default_factory=Table)
    ids: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


class Project(Protocol):
    """The project whose endpoints are served."""

    @property
    def state(self) -> State:
        """As it is, edits or not."""

    async def settled(self) -> State:
        """The state when all edits that were made before this are taken up."""
