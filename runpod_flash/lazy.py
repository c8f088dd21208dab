"""The one place that loads modules late, by name, so that `from runpod_flash import Endpoint` stays light.

Declaring endpoints needs little; calling them needs an event loop, pickling and a backend. What is loaded late: each
public name (by `runpod_flash`, when it is asked for), `plane_start`, `session` and `job` (by `remote` and `client`,
at the first call), `web` and `asyncio` (by `client` and `http_verbs`, at the first request), the chosen backend (by
`backends.connect`), `pathlib`, `dotenv` (where there is a .env file) and `platformdirs` (where FLASH_HOME is not set;
by `settings`, when it reads), `packaging.requirements` (by `options`, at the first call of an endpoint with
dependencies), `importlib.metadata` (by `outcome`, for a message), `difflib` (for messages with a hint, by `wording`
and others), `pydantic` (by `route_types`, for routes), `backends.near` (by `backends.clients`),
`session` and `volume_calls` (by `volumes`, when something is asked of one).
"""

import importlib
import sys
from typing import Any


def load(name: str, *, without: str = "") -> Any:
    """Import a module by its full name and return it.

    `without`: a module that it can do without, and that is not imported for it where that would be the first time.
    """
    if without in sys.modules or not without:
        found = sys.modules.get(name)
        is_whole = found is not None and not getattr(found.__spec__, "_initializing", False)
        return found if is_whole else importlib.import_module(name)
    sys.modules[without] = None  # type: ignore[assignment] # as importlib has it: there is none
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[without]
