"""Runs the parts of a script, each on its own, and prints what they gave or raised as one line of JSON."""

import asyncio
import inspect
import json
import os
from concurrent.futures import ThreadPoolExecutor

KEY = os.environ["CONFORMANCE_KEY"]


def tell(*groups):
    """Run the functions of a group side by side, the groups one after the other; the names of functions become keys."""
    told = {}
    for parts in groups:
        with ThreadPoolExecutor(16) as pool:
            told.update(zip([part.__name__ for part in parts], pool.map(_outcome, parts), strict=True))
    print(json.dumps(told))


def _outcome(part):
    try:
        return asyncio.run(part()) if inspect.iscoroutinefunction(part) else part()
    except Exception as error:  # noqa: BLE001 - what it is, is what the test asks
        return {"raised": type(error).__name__, "message": str(error)}
