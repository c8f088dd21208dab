"""Install Python packages with pip, one after the other, where the user does not want uv's faster ways.

The same two steps as `worker_runtime.install`: a plan, then exactly that. pip itself is the one of the interpreter that
runs this program, or of the interpreter that it installs for.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from worker_runtime.commands import CommandResult, run_command
from worker_runtime.install import BuildFailed, InstallFailed, NoSolution, mismatch, named
from worker_runtime.wire.specs import PackageIndex

_SETTINGS = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_NO_COLOR": "1",
    "PIP_PROGRESS_BAR": "off",
    "PIP_ROOT_USER_ACTION": "ignore",
}
_STRANGERS = ("PIP_", "PYTHON", "VIRTUAL_ENV", "CONDA_")
_NO_SOLUTION = ("No matching distribution found", "ResolutionImpossible", "Cannot install")
_UNREACHABLE = ("Could not fetch URL", "Connection", "Max retries", "timed out", "ProxyError", "SSLError")
_HASH = "--hash="
_MISMATCH = "DO NOT MATCH THE HASHES"
_FULL = ("No space left on device", "Disk quota exceeded")
_UNBUILDABLE = ("Failed to build", "metadata-generation-failed", "subprocess-exited-with-error", "BackendUnavailable")


class Pip:
    """Runs pip. `base_env` is the environment to start from; with `wheels_only` nothing is built from source."""

    def __init__(self, base_env: Mapping[str, str], *, wheels_only: bool = False) -> None:
        self._env = {name: text for name, text in base_env.items() if not name.startswith(_STRANGERS)} | _SETTINGS
        self._source = ["--only-binary", ":all:"] if wheels_only else []

    async def plan(
        self,
        python: str,
        requirements: Sequence[str],
        index: PackageIndex,
        *,
        work: Path,
        installed: Path,
        constraints: Sequence[str] = (),
    ) -> tuple[str, ...]:
        """Resolve `requirements` for the interpreter `python` and return what is to be added, as exact requirements.

        Where the folder `installed` is empty, nothing counts as being there. Raises NoSolution, InstallFailed.
        """
        words = ["install", "--dry-run", "--quiet", "--report", "-", *self._source]
        words += [] if any(installed.iterdir()) else ["--ignore-installed"]
        words += ["-r", _write(work / "dependencies", requirements)]
        if constraints:
            words += ["-c", _write(work / "constraints", constraints)]
        result = await self._run(python, words, index, work)
        if result.status != 0:
            raise _failure(result, requirements)
        return tuple(sorted(map(_exact, json.loads(result.stdout)["install"])))

    async def install(
        self, python: str, packages: Sequence[str], index: PackageIndex, *, work: Path, target: Path | None = None
    ) -> None:
        """Install exactly `packages` (what `plan` or a lock says) into `target`, or into the interpreter itself.

        Files whose hashes are given must have one of them. Raises InstallFailed.
        """
        hashed = [package for package in packages if _HASH in package]
        # pip wants hashes for all or for none of what it installs at a time; a repository has none.
        for part in filter(None, (hashed, [package for package in packages if _HASH not in package])):
            words = ["install", "--no-deps", "--quiet", *self._source, "-r", _write(work / "packages", part)]
            words += ["--target", str(target)] if target is not None else []
            result = await self._run(python, words, index, work)
            if result.status != 0:
                raise _failure(result, part)

    async def _run(self, python: str, words: Sequence[str], index: PackageIndex, cwd: Path) -> CommandResult:
        env = self._env | _index_environment(index)
        for host in dict.fromkeys((sys.executable, python)):
            look = [host, "-I", "-c", "import pip"]
            if (await run_command(look, env=self._env, cwd=cwd)).status == 0:
                return await run_command([host, "-m", "pip", "--python", python, *words], env=env, cwd=cwd)
        raise InstallFailed(
            f"accelerate_downloads=False asks for pip, which neither {sys.executable} nor {python} has; install pip "
            "there (python -m ensurepip), or leave accelerate_downloads= out",
            holds_s=0,
        )


def _index_environment(index: PackageIndex) -> dict[str, str]:
    """pip's settings as variables, because other users of the machine can read command lines."""
    env = {
        "PIP_INDEX_URL": index.index_url or "",
        "PIP_EXTRA_INDEX_URL": " ".join(index.extra_index_urls),
        "PIP_FIND_LINKS": " ".join(index.find_links),
        "PIP_NO_INDEX": "1" if index.no_index else "",
        "PIP_TRUSTED_HOST": " ".join(index.trusted_hosts),
        "PIP_CERT": index.cert or "",
    }
    return {name: text for name, text in env.items() if text}


def _exact(item: Mapping[str, dict[str, str]]) -> str:
    """One entry of pip's report as a requirement."""
    name, version = item["metadata"]["name"], item["metadata"]["version"]
    return f"{name} @ {item['download_info']['url']}" if item.get("is_direct") else f"{name}=={version}"


def _failure(result: CommandResult, requirements: Sequence[str]) -> InstallFailed:
    """Say what pip's words mean; they stand at the end."""
    words = result.stderr.strip()[-3000:]
    names = named(requirements)
    if _MISMATCH in words:
        return mismatch("pip", words)
    if any(sign in words for sign in _FULL):
        return InstallFailed(f"the disk is full: {names} could not be installed. pip says:\n{words}", holds_s=0)
    if any(sign in words for sign in _UNREACHABLE):
        return InstallFailed(
            f"{names} could not be fetched: the package index did not answer as it should. Check the network, the "
            f"proxy and pip's configuration (index-url, cert), then call again. pip says:\n{words}",
            holds_s=0,
        )
    if any(sign in words for sign in _NO_SOLUTION):
        return NoSolution(f"no versions satisfy {names}; change a version or a name. pip says:\n{words}")
    if any(sign in words for sign in _UNBUILDABLE):
        return BuildFailed(
            f"{names} could not be built: there is no wheel for this Python and the source does not build here. pip"
            f" says:\n{words}"
        )
    return InstallFailed(f"{names} could not be installed. pip says:\n{words}")


def _write(path: Path, lines: Sequence[str]) -> str:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    return str(path)
