"""What the console says, as text: the addresses, one line for each request, what is wrong with a file. Pure."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from flash_cli.dev.state import State
from flash_cli.dev.table import Line
from flash_cli.dev.visits import Ended

_MARKS = {True: ("✓", "✗"), False: ("ok", "failed")}
_LONGEST = 200  # characters of a problem in a line


def request_line(ended: Ended, now: float, *, utf: bool, endpoints_width: int = 0) -> str:
    """A request that was answered, or the end of a job: when, where, what for, who did it, how long, how it went.

    `now`: seconds since the epoch.
    """
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    parts = [clock, ended.endpoint.ljust(endpoints_width)]
    parts.append(f"{ended.method} {ended.path}" if ended.kind == "request" else f"job {ended.job}")
    facts = [*_waited(ended), *_ran(ended)]
    mark = _MARKS[utf][not ended.good]
    said = ended.job_status if ended.kind == "job" or ended.job_status in ("IN_QUEUE", "IN_PROGRESS") else ""
    status = str(ended.status) if ended.kind == "request" else ""
    end = " ".join(filter(None, (mark, status, said)))
    problem = f": {' '.join(ended.problem.split())[:_LONGEST]}" if ended.problem else ""
    return "  ".join(filter(None, (*parts, ", ".join(facts), end))) + problem


def _waited(ended: Ended) -> list[str]:
    found = [f"took up an edit in {_time(ended.edit_ms)}"] if ended.edit_ms >= 1 else []
    causes = "; ".join(ended.waits)
    if ended.queue_ms is not None and (causes or ended.queue_ms >= 1):
        return [*found, f"waited {_time(ended.queue_ms)}{f' ({causes})' if causes else ''}"]
    return [*found, f"waited ({causes})"] if causes else found


def _ran(ended: Ended) -> list[str]:
    found = [f"worker {ended.worker}"] if ended.worker else []
    if ended.run_ms is not None:
        return [*found, f"ran {_time(ended.run_ms)}"]
    return [*found, f"took {_time(ended.total_ms)}"] if ended.kind == "request" and not ended.job else found


def _time(milliseconds: int) -> str:
    """A span for people: "12 ms", "3.4 s"."""
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def address_lines(url: str, lines: Iterable[Line]) -> list[str]:
    """The table of addresses, in columns."""
    rows = [(line.method, url + line.path, f"{line.endpoint.name} ({line.endpoint.kind})") for line in lines]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    return [f"  {method.ljust(widths[0])}  {path.ljust(widths[1])}  {what}" for method, path, what in rows]


def change_lines(before: State, now: State, took_s: float) -> list[str]:
    """What has become of an edit: what is wrong, what is mended, which endpoints came, went and changed."""
    found = [
        f"{file} cannot be used: {message}{_answers_503(now, file)}"
        for file, message in now.files.items()
        if before.files.get(file) != message
    ]
    found += [f"{file} is mended" for file in before.files if file not in now.files and not now.problem]
    files = {each.file for each in now.table.endpoints.values() if each.name in now.broken} & now.files.keys()
    for name, why in now.broken.items():
        if now.table.endpoints[name].file not in files and before.broken.get(name) != why:
            found.append(why)
    if now.problem:
        return [*found, now.problem] if now.problem != before.problem else found
    old, new = before.table.endpoints, now.table.endpoints
    changed = [name for name in new if name in old and new[name] != old[name] and name not in now.broken]
    changed += [name for name in before.broken if name in new and name not in now.broken and name not in changed]
    for names, verb in (
        ([name for name in new if name not in old], "new"),
        (changed, "changed"),
        ([name for name in old if name not in new], "removed"),
    ):
        if names and (old or before.files):
            found.append(f"{', '.join(sorted(names))}: {verb}, live after {_time(round(took_s * 1000))}")
    return found


def _answers_503(state: State, file: str) -> str:
    names = sorted(each.name for each in state.table.endpoints.values() if each.file == file)
    return f" ({', '.join(names)}: answers 503 until it is mended)" if names else ""


def as_event(ended: Ended) -> Mapping[str, Any]:
    """A request for programs."""
    facts = {_camel(name): value for name, value in asdict(ended).items()}
    return {"event": facts.pop("kind"), **facts, "waits": list(ended.waits)}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))
