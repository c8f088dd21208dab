"""Runs programs with the real clients: scripts, examples as they are printed, the curl command."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.environments import Clients
from tests.conformance.target import Target
from tests.support.place import Finished

SCRIPTS = Path(__file__).parent / "clients"


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs programs in `folder`, which has a `node_modules`, with the variables by which clients find the target."""

    target: Target
    real: Clients
    folder: Path

    @classmethod
    def below(cls, folder: Path, target: Target, real: Clients) -> "Runner":
        """A runner in this new folder, with the scripts of `clients/`."""
        shutil.copytree(SCRIPTS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "node_modules").symlink_to(real.modules / "node_modules")
        return cls(target, real, folder)

    def said(self, script: str, *arguments: str) -> Any:
        """Run a script of `clients/` to its good end; the JSON of the last line that it prints."""
        program = self.real.node if script.endswith(".mjs") else self.real.python
        return json.loads(self.run([program, script, *arguments]).good().stdout.splitlines()[-1])

    def run(self, command: Sequence[str], env: Mapping[str, str] | None = None, timeout_s: float = 150) -> Finished:
        """Run a command to its end, with none of the user's own settings."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "RUNPOD_ENDPOINT_BASE_URL": self.target.jobs_url,
            "CONFORMANCE_KEY": self.target.key,
            **(env or {}),
        }
        done = subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        return Finished(done.returncode, done.stdout, done.stderr)
