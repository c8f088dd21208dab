"""What may load when our packages are imported. Modules are counted, not milliseconds: those are in benchmarks/."""

import json
from pathlib import Path

import pytest

from tests.support.place import Place

HEAVY = {"httpx", "pydantic", "rich", "starlette", "typer", "uvicorn"}
LIGHTER = {"anyio", "dotenv", "h11", "markdown_it", "packaging", "platformdirs", "psutil", "pygments", "pynvml"}


def modules_after(tmp_path: Path, statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `statement`."""
    asked = "import json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    finished = Place.below(tmp_path).run(["-B", "-c", f"{statement}\n{asked}"]).good()
    return set(json.loads(finished.stdout))


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import runpod_flash", HEAVY | LIGHTER | {"asyncio", "cloudpickle", "sqlite3"}),
        ("from runpod_flash import Endpoint", HEAVY | {"anyio", "dotenv", "psutil", "pynvml", "sqlite3"}),
        (
            "from runpod_flash import Endpoint\n@Endpoint(name='f', cpu='cpu3c-1-2')\ndef f(): pass",
            HEAVY | {"anyio", "dotenv", "psutil", "pynvml", "sqlite3"},
        ),
        (
            "import asyncio, contextlib, pathlib\nfrom runpod_flash import backends, errors, settings\n"
            "chosen = settings.Settings(target='http://127.0.0.1:1', home=pathlib.Path())\n"
            "with contextlib.suppress(errors.BackendUnavailable):\n"
            "    asyncio.run(backends.connect(chosen, pathlib.Path()))",
            {"anyio", "click", "httpcore", "pydantic", "rich", "starlette", "typer", "uvicorn"},
        ),
        ("import worker_runtime.wire.payload", HEAVY | LIGHTER),
        ("import flash_cli.main", {"httpx", "markdown_it", "pydantic", "rich", "starlette", "uvicorn"}),
    ],
    ids=["package", "Endpoint", "decorated", "request", "wire", "command"],
)
def test_what_is_heavy_is_not_loaded(tmp_path: Path, statement: str, forbidden: set[str]) -> None:
    assert modules_after(tmp_path, statement) & forbidden == set()


def test_the_help_of_the_command_loads_nothing_heavy(tmp_path: Path) -> None:
    statement = (
        "import contextlib, io, sys; from flash_cli.main import main; sys.argv = ['flash', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()"
    )
    assert modules_after(tmp_path, statement) & {"httpx", "pydantic", "rich", "starlette", "uvicorn"} == set()
