"""Projects to be built: written into a folder and built in this process."""

import asyncio
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flash_cli.builds.building import BuildOptions, Built, build

QUEUE = """
    from runpod_flash import Endpoint

    @Endpoint(name="{name}", cpu="cpu3c-1-2")
    def {name}(data: int): return data
"""
"""The source of a file with one function on an endpoint of the same name."""


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a folder, which is returned; common indentation of texts is removed."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
    return root


def built(root: Path, known: Built | None = None, **options: Any) -> Built:
    """Build the project in a folder, without locks unless they are asked for."""
    return asyncio.run(build(root, BuildOptions(**{"app": "demo", "locked": False, **options}), known))
