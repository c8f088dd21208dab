"""What the benchmarks share: medians, and the facts of the machine and the commit that figures belong to."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any


def median_ms(action: Callable[[], object], rounds: int) -> float:
    """The median time of an action in milliseconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def facts() -> dict[str, str]:
    """The machine and the commit."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return {"machine": machine, "commit": commit.stdout.strip() or "unknown"}


def report(name: str, figures: dict[str, Any]) -> None:
    """Print figures as one JSON document, with machine and commit."""
    rounded = {key: round(value, 2) if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps({"benchmark": name, **facts(), **rounded}, indent=2))
