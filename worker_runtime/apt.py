"""Install apt packages where that is allowed: as root, in a container or by consent. Else name the command."""

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker_runtime.commands import CommandResult, file_lock, run_command
from worker_runtime.install import InstallFailed, cut_off

ALLOWED_BY = "FLASH_ALLOW_APT=1"
"""The setting with which the user agrees."""

LISTS_AGE_S = 24 * 3600.0
"""Seconds after which apt's package lists count as old."""

_GRACE_S = 10.0  # dpkg needs a moment to stop between two packages
_PACKAGE = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]*[a-z0-9+.])(?::(?P<arch>[a-z0-9-]+))?(?:=(?P<version>[0-9][\w.+:~-]*))?"
)
_FORMAT = "${db:Status-Abbrev}\t${Package}\t${Architecture}\t${Version}\t${Provides}\n"
_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")
# Wait for another apt; take no name for a pattern ("a.c" would be one).
_OPTIONS = ("-o", "DPkg::Lock::Timeout=60", "-o", "APT::Cmd::Pattern-Only=true")
_CONTAINER_FILES = (".dockerenv", "run/.containerenv", "run/systemd/container")
_CONTAINER_GROUPS = re.compile(r"docker|kubepods|containerd|libpod|/lxc")


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """One row of dpkg's database."""

    version: str
    arch: str


class Apt:
    """Sees to it that system packages are installed. One instance lives as long as the process."""

    def __init__(self, base_env: Mapping[str, str], *, allow: bool, lock: Path, root: Path = Path("/")) -> None:
        """`base_env`: the environment to start from; `lock`: lock file for one apt at a time; `root`: where to look."""
        self._env = {**base_env, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        self._env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        self._allow = allow
        self._lock = lock
        self._root = root
        self._updated = False

    async def ensure(self, packages: Sequence[str]) -> None:
        """Install those of `packages` that are missing. Raises InstallFailed, which names the command to run."""
        check_packages(packages)
        missing = await self._missing(packages)
        if not missing:
            return
        self._check_allowed(missing)
        async with file_lock(self._lock):
            if missing := await self._missing(missing):  # another process may have installed them meanwhile
                await self._install(missing)

    def _check_allowed(self, missing: Sequence[str]) -> None:
        names = " ".join(missing)
        command = f"{' '.join(_INSTALL)} {names}"
        if os.geteuid() != 0:
            raise InstallFailed(
                f"the system packages {names} are missing and only root can install them. Run: sudo {command}\nThen"
                f" call again. (A control plane that runs as root installs them itself: in a container, or with"
                f" {ALLOWED_BY}.)",
                holds_s=0,
            )
        if not self._allow and not in_container(self._root):
            raise InstallFailed(
                f"the system packages {names} are missing, and outside a container this machine's packages are left"
                f" alone. Run: {command}\nThen call again. Or allow it with {ALLOWED_BY}.",
                holds_s=0,
            )

    async def _missing(self, packages: Sequence[str]) -> list[str]:
        if shutil.which("dpkg-query", path=self._env["PATH"]) is None:
            raise InstallFailed(
                f"the system packages {' '.join(packages)} cannot be installed: this system has no apt. Install what"
                " they contain by hand and take them out of system_dependencies",
                holds_s=0,
            )
        result = await run_command(["dpkg-query", "-W", "-f", _FORMAT], env=self._env)
        there = read_packages(result.stdout)
        return [text for text in dict.fromkeys(packages) if not _is_there(text, there)]

    async def _install(self, missing: Sequence[str]) -> None:
        if self._lists_old():
            await self._update()
        result = await self._apt(*_INSTALL[1:], *missing)
        if result.status != 0 and "dpkg --configure -a" in result.stderr:  # an earlier one was interrupted
            await run_command(["dpkg", "--configure", "-a"], env=self._env, grace_s=_GRACE_S)
            result = await self._apt(*_INSTALL[1:], *missing)
        if result.status != 0 and not self._updated:  # lists that look fresh may lack the package or name an old one
            await self._update()
            result = await self._apt(*_INSTALL[1:], *missing)
        if result.status < 0:
            raise cut_off("apt-get", result)
        if result.status != 0:
            raise InstallFailed(f"apt-get could not install {' '.join(missing)}. It says:\n{_words(result)}")

    async def _update(self) -> None:
        """Fetch the package lists. A failure shows in the installation, which may work all the same."""
        self._updated = (await self._apt("update")).status == 0

    async def _apt(self, verb: str, *words: str) -> CommandResult:
        return await run_command(["apt-get", verb, *_OPTIONS, *words], env=self._env, grace_s=_GRACE_S)

    def _lists_old(self) -> bool:
        lists = list((self._root / "var/lib/apt/lists").glob("*_Packages*"))
        newest = max((path.stat().st_mtime for path in lists), default=0.0)
        return not self._updated and time.time() - newest > LISTS_AGE_S


def check_packages(packages: Sequence[str]) -> None:
    """Raise InstallFailed for what is no name of a package ("name", "name:arch", "name=version"), so options too."""
    for text in packages:
        if not _PACKAGE.fullmatch(text):
            raise InstallFailed(
                f"{text!r} is no name of an apt package; write it as in 'libsndfile1' or 'libsndfile1=1.2.0-1'"
            )


def read_packages(listing: str) -> dict[str, list[InstalledPackage]]:
    """dpkg-query's listing: installed packages by name, and by the names that they provide."""
    there: dict[str, list[InstalledPackage]] = {}
    for line in listing.splitlines():
        status, name, arch, version, provides = (line.split("\t") + [""] * 5)[:5]
        if status[1:2] != "i":
            continue
        package = InstalledPackage(version, arch)
        for offered in (name, *(part.split()[0] for part in provides.split(",") if part.strip())):
            there.setdefault(offered.split(":")[0], []).append(package)
    return there


def in_container(root: Path = Path("/")) -> bool:
    """Whether this system is a container (docker, podman, Kubernetes, LXC, systemd-nspawn)."""
    if any((root / name).exists() for name in _CONTAINER_FILES):
        return True
    if _CONTAINER_GROUPS.search(_read(root / "proc/1/cgroup")):
        return True
    names = [entry.split("=")[0] for entry in _read(root / "proc/1/environ").split("\0")]
    return "container" in names or "KUBERNETES_SERVICE_HOST" in names


def _is_there(text: str, there: Mapping[str, Sequence[InstalledPackage]]) -> bool:
    match = _PACKAGE.fullmatch(text)
    assert match is not None
    return any(
        match["arch"] in (None, package.arch) and match["version"] in (None, package.version)
        for package in there.get(match["name"], ())
    )


def _words(result: CommandResult) -> str:
    errors = [line for line in result.stderr.splitlines() if line.startswith(("E:", "dpkg:"))]
    return "\n".join(errors) or (result.stderr or result.stdout).strip()[-2000:]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
