"""How long `from runpod_flash import Endpoint` takes over an empty program, beside another package in the same run."""

import subprocess
import sys
from functools import partial

from timing import median_ms, report

ROUNDS = 7
STATEMENTS = {
    "pass": "pass",
    "Endpoint": "from runpod_flash import Endpoint",
    "httpx": "import httpx",
}


def run(statement: str) -> None:
    """Run a statement in a fresh interpreter."""
    subprocess.run([sys.executable, "-c", statement], check=True)


def main() -> None:
    """Measure and print. The goal for `endpoint_ms` is 60 or less."""
    for statement in STATEMENTS.values():  # byte code is written, files are in memory
        run(statement)
    times = {name: median_ms(partial(run, statement), ROUNDS) for name, statement in STATEMENTS.items()}
    endpoint, peer = (times[name] - times["pass"] for name in ("Endpoint", "httpx"))
    report("import", {"endpoint_ms": endpoint, "httpx_ms": peer, "ratio": endpoint / peer, "rounds": ROUNDS})


if __name__ == "__main__":
    main()
