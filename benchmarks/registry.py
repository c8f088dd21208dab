"""Every row by its name, in the order of the table."""

from collections.abc import Callable, Iterable, Iterator

from benchmarks.measures import Figure
from benchmarks.rows import arrays, calls, commands, durability, gpu, growth, held, resting, starts
from benchmarks.scene import Scene

Row = Callable[[Scene], Iterator[Figure]]

ROWS: dict[str, Row] = {
    "latency": calls.latency,
    "runsync": calls.runsync,
    "gathered": calls.gathered,
    "memory": calls.memory,
    "arrays": arrays.arrays,
    "large-array": arrays.large_array,
    "tasks": calls.tasks,
    "script": starts.script,
    "worker": starts.worker,
    "torch": starts.heavy_module,
    "environment": starts.environment,
    "gpu": gpu.products,
    "durable": durability.durable,
    "idle": resting.idle,
    "import": commands.importing,
    "help": commands.helping,
    "queued": growth.queued,
    "draining": growth.draining,
    "endpoints": growth.endpoints,
    "workers": growth.workers,
    "project": commands.project,
    "held": held.held,
}


class NoSuchRow(Exception):
    """A name is no row's; the message has those that are."""


def chosen(names: Iterable[str]) -> dict[str, Row]:
    """The rows of these names, all where there are none.

    Raises:
        NoSuchRow: a name is no row's.
    """
    wanted = list(dict.fromkeys(filter(None, names)))
    for name in wanted:
        if name not in ROWS:
            raise NoSuchRow(f"{name!r} is no row; there are {', '.join(ROWS)}")
    return {name: ROWS[name] for name in ROWS if not wanted or name in wanted}
