"""`flash status`: the endpoints of this machine, with their workers and jobs."""

from collections.abc import Mapping
from typing import Any

from flash_cli import console, plane
from runpod_flash.backends import daemon
from runpod_flash.errors import BackendUnavailable
from runpod_flash.state_folder import PlaneRecord, StateFolder


def status(*, as_json: bool) -> None:
    """Show every control plane of this user with its endpoints; say so where none runs.

    Raises:
        BackendError: a control plane runs and does not answer properly.
    """
    state = plane.state_folder()
    found = [(record, _overview(folder, record)) for folder, record in daemon.all_running(state)]
    if as_json:
        planes = [
            {
                "pid": record.pid,
                "version": record.version,
                "port": record.port,
                "state": record.state,
                **(said or {"endpoints": []}),
            }
            for record, said in found
        ]
        console.data({"running": bool(found), "home": str(state.home), "planes": planes})
        return
    if not found:
        console.say(f"no control plane runs; the first call starts one (state: {state.home})")
    for record, said in found:
        if not said:
            console.say(f"control plane {record.version}, process {record.pid}, {record.state}")
            continue
        doing = "" if record.state == "serving" else f", {record.state}"
        up = f", up {console.since(said['started'])}" if said["started"] else ""
        console.say(f"control plane {record.version}, process {record.pid}{up}, {said['jobs']} open jobs{doing}")
        _show(said["endpoints"])
        if disk := (said.get("disk") or {}).get("message"):
            console.say(f"warning: {disk}")


def _overview(folder: StateFolder, record: PlaneRecord) -> Mapping[str, Any]:
    """What a control plane says; empty while it starts or is about to end, when it need not answer."""
    try:
        return plane.overview(folder, record)
    except BackendUnavailable:
        if record.state in ("starting", "stopping"):
            return {}
        raise


def _show(endpoints: list[Mapping[str, Any]]) -> None:
    if not endpoints:
        console.say("no endpoints")
        return
    several = any(endpoint.get("owner") for endpoint in endpoints)  # users, of whom this machine's own has no name
    rows = [
        (
            endpoint["name"],
            endpoint["id"],
            _counts(endpoint["workers"]),
            _counts(endpoint["jobs"]),
            *([endpoint.get("owner") or "-"] if several else []),
            endpoint["project"],
        )
        for endpoint in endpoints
    ]
    heads = ("ENDPOINT", "ID", "WORKERS", "JOBS", *(["USER"] if several else []), "PROJECT")
    console.table(heads, rows)
    for endpoint in endpoints:
        if waiting := endpoint.get("waiting"):
            cause, name = waiting["cause"], endpoint["name"]
            console.say(f"{name}: {waiting['count']} waiting for {console.since(cause['since'])}; {cause['text']}")


def _counts(counts: Mapping[str, int]) -> str:
    """The counters that are not 0, in plain words: `inQueue` is shown as "in queue"."""
    shown = [f"{count} {console.words(name)}" for name, count in counts.items() if count]
    return ", ".join(shown) or "-"
