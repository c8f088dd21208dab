"""The files of a new project: where they go and what is in them."""

import importlib.resources
import re
from collections.abc import Mapping
from typing import Final

FILES: Final = {
    "gpu_worker.py": "gpu_worker.py",
    "cpu_worker.py": "cpu_worker.py",
    "lb_worker.py": "lb_worker.py",
    "main.py": "main.py",
    "pyproject.toml": "pyproject.toml",
    "requirements.txt": "requirements.txt",
    ".gitignore": "gitignore",  # by its own name it would be taken for one of this repository
    ".flashignore": "flashignore",
    ".env.example": "env.example",
    "README.md": "README.md",
    "AGENTS.md": "AGENTS.md",
}
"""Their names in the project, with the names of the templates."""

ABOUT: Final = {
    "gpu_worker.py": "a class with a model",
    "cpu_worker.py": "a function",
    "lb_worker.py": "an HTTP API",
    "main.py": "a program that calls them",
}
"""What to look at first."""

REQUIRES_PYTHON: Final = ">=3.11,<3.14"
"""The Python versions on which our packages run."""

_SOURCE: Final = "/path/to/runpod-flash"
_FIELD: Final = re.compile(r"\{\{(\w+)\}\}")


def rendered(app: str) -> Mapping[str, str]:
    """The text of each file of a project whose app has this name, which is a good one."""
    folder = importlib.resources.files("flash_cli") / "templates"
    fields = {"app": app, "project": app.strip("._-"), "pythons": REQUIRES_PYTHON, "source": _SOURCE}
    return {
        name: _FIELD.sub(lambda found: fields[found[1]], (folder / f"{template}.tmpl").read_text(encoding="utf-8"))
        for name, template in FILES.items()
    }
