"""What a deploy would change: the manifest of the version that is active, and the new one. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from flash_cli.builds.manifest import BuildManifest, BuiltEndpoint

ROLLING_FIELDS = frozenset(
    {
        "image", "command", "directory", "artifact", "args", "startScript", "disk", "registry", "env", "gpu", "cpu",
        "dataCenterIds", "networkVolumes", "flashboot",
    }
)  # fmt: skip
"""The fields of a body whose change needs new workers, as the control plane has it; all others change in place."""

_PACKAGE = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)(\[[^\]]*\])?\s*(==\s*(?P<version>[^\s;\\]+)|@\s*(?P<url>[^\s;\\]+))"
)


class ChangeKind(StrEnum):
    """What happens to an endpoint."""

    CREATE = "create"
    UPDATE = "update"  # in place: its workers stay
    ROLL = "roll"  # new workers take the place of its old ones
    REMOVE = "remove"
    KEEP = "keep"
    LEFT = "left"  # it is not in the code any more, and stays


class About(StrEnum):
    """What differs."""

    CONFIG = "config"
    PACKAGE = "package"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Difference:
    """Something of an endpoint that changes. None: it is not there, before or after.

    Of variables only the names are told: their values may be secrets.
    """

    about: About
    name: str  # a field like "workers.max", a package, a file
    before: Any = None
    after: Any = None

    def to_json(self) -> dict[str, Any]:
        """As programs read it."""
        return {"about": self.about.value, "name": self.name, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one endpoint, and why."""

    endpoint: str
    kind: ChangeKind
    differences: tuple[Difference, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As programs read it."""
        differences = [difference.to_json() for difference in self.differences]
        return {"endpoint": self.endpoint, "change": self.kind.value, "differences": differences}


@dataclass(frozen=True, slots=True)
class Plan:
    """What would happen to each endpoint of a stage, in the order of the code; then to those that left it."""

    changes: tuple[Change, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change."""
        return all(change.kind in (ChangeKind.KEEP, ChangeKind.LEFT) for change in self.changes)

    def of(self, *kinds: ChangeKind) -> tuple[Change, ...]:
        """The changes of these kinds."""
        return tuple(change for change in self.changes if change.kind in kinds)


def plan(
    old: BuildManifest | None,
    new: BuildManifest,
    present: Mapping[str, str | None] | None = None,
    *,
    prune: bool = False,
) -> Plan:
    """What leads from what a stage has to the manifest `new`.

    An endpoint cannot change between jobs and HTTP requests: it is removed and made anew.

    Args:
        old: what was deployed last, with complete bodies; None: nothing.
        new: what shall be there, with complete bodies.
        present: the endpoints that the stage really has, by name, with their artifacts: more than `old` where some left
            the code before, others where a deploy was broken off; None: those of `old`.
        prune: whether what is not in `new` is removed.
    """
    noted = {endpoint.name: endpoint for endpoint in (old.endpoints if old else ())}
    there = {name: endpoint.artifact for name, endpoint in noted.items()} if present is None else dict(present)
    changes: list[Change] = []
    for endpoint in new.endpoints:
        before = noted.get(endpoint.name)
        if endpoint.name not in there:
            changes.append(Change(endpoint.name, ChangeKind.CREATE))
        elif before is None or before.artifact != there[endpoint.name]:
            changes.append(Change(endpoint.name, ChangeKind.ROLL))
        else:
            changes += _of(before, endpoint)
    wanted = {endpoint.name for endpoint in new.endpoints}
    gone = ChangeKind.REMOVE if prune else ChangeKind.LEFT
    return Plan((*changes, *(Change(name, gone) for name in there if name not in wanted)))


def _of(old: BuiltEndpoint, new: BuiltEndpoint) -> Iterator[Change]:
    before, after = _whole(old), _whole(new)
    if before.get("type") != after.get("type"):
        yield Change(new.name, ChangeKind.REMOVE)
        yield Change(new.name, ChangeKind.CREATE, tuple(_config(before, after)))
        return
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    if not changed:
        yield Change(new.name, ChangeKind.KEEP)
        return
    kind = ChangeKind.ROLL if changed & ROLLING_FIELDS else ChangeKind.UPDATE
    yield Change(new.name, kind, differences(old, new))


def differences(old: BuiltEndpoint, new: BuiltEndpoint) -> tuple[Difference, ...]:
    """What differs between two versions of an endpoint: field by field, package by package, file by file."""
    found = [*_config(_whole(old), _whole(new)), *_packages(old, new)]
    if old.artifact != new.artifact:
        code = list(_files(old.files, new.files))
        if not code and not any(each.about is About.PACKAGE for each in found):
            code = [Difference(About.CODE, new.file, _short(old.artifact), _short(new.artifact))]
        found += code
    return tuple(found)


def _whole(endpoint: BuiltEndpoint) -> dict[str, Any]:
    return {**endpoint.body, "artifact": endpoint.artifact}


def _config(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    old, new = dict(_flat(before)), dict(_flat(after))
    for name in sorted({*old, *new} - {"artifact"}):
        if old.get(name) == new.get(name) and (name in old) == (name in new):
            continue
        difference = Difference(About.CONFIG, name, old.get(name), new.get(name))
        yield _without_values(difference, name in old, name in new) if name.startswith("env.") else difference


def _without_values(difference: Difference, was: bool, is_: bool) -> Difference:
    return replace(difference, before="…" if was else None, after="…" if is_ else None)


def _flat(body: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a body; those of objects within it as "workers.max"."""
    for name, value in body.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _packages(old: BuiltEndpoint, new: BuiltEndpoint) -> Iterator[Difference]:
    before, after = _locked(old), _locked(new)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield Difference(About.PACKAGE, name, before.get(name), after.get(name))
    if old.python != new.python:
        yield Difference(About.PACKAGE, "python", old.python, new.python)


def _locked(endpoint: BuiltEndpoint) -> dict[str, str]:
    """The versions of packages by their names: of the lock, else what was named."""
    if not endpoint.lock:
        return dict.fromkeys(endpoint.requirements, "any that fits")
    found = {}
    for line in endpoint.lock.splitlines():
        match = _PACKAGE.match(line)
        if match is not None:
            found[match["name"]] = match["version"] or match["url"]
    return found


def _files(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield Difference(About.CODE, name, _short(before.get(name)), _short(after.get(name)))


def _short(sha256: str | None) -> str | None:
    return sha256 and sha256[:12]


def counts(changes: Sequence[Change]) -> dict[ChangeKind, int]:
    """How many changes there are of each kind, of those kinds that there are."""
    return {kind: count for kind in ChangeKind if (count := sum(change.kind is kind for change in changes))}
