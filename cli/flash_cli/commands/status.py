"""`flash status`: the endpoints of the chosen target, or of this machine, with their workers and jobs."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from flash_cli import console, finding, plane
from flash_cli.platform import connected
from runpod_flash import settings
from runpod_flash.backends import daemon
from runpod_flash.errors import BackendUnavailable
from runpod_flash.settings import Settings
from runpod_flash.state_folder import PlaneRecord, StateFolder

Said = Mapping[str, Any]


def status(*, as_json: bool, everything: bool) -> None:
    """Show what there is at the chosen target; nothing is started for that.

    Where calls stay on this machine, that is every control plane of this user; elsewhere it is what is at the URL, and
    with `everything` those of this machine, too.

    Raises:
        BackendError: a control plane does not answer properly.
    """
    chosen = settings.load()
    afar = asyncio.run(_afar(chosen)) if chosen.target.startswith("http") else None
    state = plane.state_folder(chosen)
    here = daemon.all_running(state) if afar is None or everything else []
    found = [(record, _overview(folder, record)) for folder, record in here]
    if as_json:
        planes = [_plane(record, said) for record, said in found]
        rest = {"running": bool(found), "home": str(state.home), "planes": planes}
        told = {} if afar is None else {"target": chosen.target, **afar}
        console.data({**told, **(rest if afar is None or everything else {})})
        return
    if afar is not None:
        console.say(f"{chosen.target}, {afar['jobs']} open jobs")
        _show(afar)
    if afar is None and not found:
        console.say(f"no control plane runs; the first call starts one (state: {state.home})")
    for record, said in found:
        _show_plane(record, said)


async def _afar(chosen: Settings) -> Said:
    async with connected(chosen) as backend:
        return await backend.look.overview()


def _overview(folder: StateFolder, record: PlaneRecord) -> Said:
    """What a control plane says; empty while it starts or is about to end, when it need not answer."""
    try:
        return plane.overview(folder, record)
    except BackendUnavailable:
        if record.state in ("starting", "stopping"):
            return {}
        raise


def _plane(record: PlaneRecord, said: Said) -> dict[str, Any]:
    about = {"pid": record.pid, "version": record.version, "port": record.port, "state": record.state}
    return {**about, **(said or {"endpoints": []})}


def _show_plane(record: PlaneRecord, said: Said) -> None:
    name = f"control plane {record.version}, process {record.pid}"
    if not said:
        console.say(f"{name}, {record.state}")
        return
    doing = "" if record.state == "serving" else f", {record.state}"
    up = f", up {console.since(said['started'])}" if said["started"] else ""
    console.say(f"{name}{up}, {said['jobs']} open jobs{doing}")
    _show(said)


def _show(said: Said) -> None:
    endpoints = said["endpoints"]
    if not endpoints:
        console.say("no endpoints")
    several = any(endpoint.get("owner") for endpoint in endpoints)  # users, of whom this machine's own has no name
    for title, members in _groups(endpoints):
        console.say(f"\n{title}")
        heads = ("ENDPOINT", "ID", "WORKERS", "JOBS", "URL", *(["USER"] if several else []))
        console.table(heads, [_row(endpoint, several=several) for endpoint in members])
        for endpoint in members:
            if waiting := endpoint.get("waiting"):
                cause, name = waiting["cause"], endpoint["name"]
                console.say(f"{name}: {waiting['count']} waiting for {console.since(cause['since'])}; {cause['text']}")
    if disk := (said.get("disk") or {}).get("message"):
        console.say(f"warning: {disk}")


def _groups(endpoints: Iterable[Said]) -> list[tuple[str, list[Said]]]:
    """The endpoints by what they belong to, with a title: stages of apps first, then projects."""
    groups: dict[tuple[bool, str], list[Said]] = {}
    for endpoint in endpoints:
        found = finding.Found.of(endpoint)
        groups.setdefault((found.app is None, found.project), []).append(endpoint)
    return [(_title(members[0]), members) for _, members in sorted(groups.items(), key=lambda group: group[0])]


def _title(endpoint: Said) -> str:
    """What an endpoint belongs to."""
    found = finding.Found.of(endpoint)
    if found.app is not None:
        return f"app {found.app}, environment {found.stage}{_facts(endpoint)}"
    return f"project {found.project}" if found.project else "of no project"


def _facts(endpoint: Said) -> str:
    """What else is known of the stage of an endpoint."""
    version = f", version {endpoint['version']}" if endpoint.get("version") else ""
    if not endpoint.get("expiresAt"):
        return version
    left = datetime.fromisoformat(endpoint["expiresAt"]).timestamp() - time.time()
    return f"{version}, " + (f"expires in {console.duration(left)} unless it is renewed" if left > 0 else "expired")


def _row(endpoint: Said, *, several: bool) -> tuple[str, ...]:
    return (
        endpoint["name"],
        endpoint["id"],
        _counts(endpoint["workers"]),
        _counts(endpoint["jobs"]),
        endpoint.get("url") or "-",
        *([endpoint.get("owner") or "-"] if several else []),
    )


def _counts(counts: Mapping[str, int]) -> str:
    """The counters that are not 0, in plain words: `inQueue` is shown as "in queue"."""
    shown = [f"{count} {console.words(name)}" for name, count in counts.items() if count]
    return ", ".join(shown) or "-"
