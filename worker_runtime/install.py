"""Install Python packages with uv: translate pip's settings, ask for a plan, install it, say what failed.

    plan      one resolution, nothing is installed: which packages would have to be added
    install   exactly the planned packages into a folder or an interpreter
    lock      one resolution for some Python and platform: every package exactly, with the hashes of its files
    create    a virtual environment
    find      an interpreter that uv knows on this machine; `installed`: all of them; `download`: one that it fetches

apt packages: `worker_runtime.apt`.
"""

import math
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from worker_runtime.commands import CommandResult, run_command
from worker_runtime.wire.specs import PackageIndex

OUTAGE_S = 15.0
"""Seconds for which an index that did not answer is not asked again with the same request."""

_OWN_VARIABLES = (
    "UV_CACHE_DIR", "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_PYTHON_INSTALL_DIR",
)  # fmt: skip
_STRANGERS = ("UV_", "PIP_", "PYTHON", "VIRTUAL_ENV", "CONDA_")  # would point uv at another interpreter or index
_SETTINGS = {
    "UV_NO_CONFIG": "1",
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_INDEX_STRATEGY": "unsafe-best-match",  # as pip: the best version of all indexes
    "UV_LINK_MODE": "copy",  # "clone" falls back to hard links, through which user code could write into uv's cache
    "NO_COLOR": "1",
}
_REQUIREMENT = re.compile(r"[A-Za-z0-9][^\r\n\0]*(?<!\\)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ADDED = re.compile(
    r"^ [+~] (?P<name>[^\s=]+)(?:==(?P<version>\S+))?(?: @ (?P<url>\S+)| \(from (?P<origin>.+)\))?$", re.M
)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")
_MASK = "****@"
_LONGEST = 4000  # characters of uv's words that a message has
_NO_SOLUTION = "No solution found"
_MISMATCH = "Hash mismatch for"
_HASH = "--hash="
_UNREACHABLE = re.compile(
    r"Failed to fetch|Request failed|error sending request|dns error|client error \(Connect\)|operation timed out"
    r"|Could not connect|Git operation failed|HTTP status server error"
)
_ONLY_ONLINE = re.compile(r"network (?:access |connectivity )?(?:is|was) disabled|not found in the cache", re.I)
_REFUSED = re.compile(r"HTTP status client error")
_FULL = re.compile(r"No space left on device|os error 28|Disk quota exceeded", re.I)
_UNBUILDABLE = re.compile(r"Failed to (?:build|download and build|prepare)|Build backend|build backend")


class InstallFailed(Exception):
    """Packages could not be installed; the message ends with the installer's own words. Credentials in it are masked.

    Attributes:
        holds_s: seconds for which the same request may be answered with this failure; 0 where the user is asked to do
            something outside and then to call again.
    """

    def __init__(self, message: str, *, holds_s: float = math.inf) -> None:
        super().__init__(mask(message))
        self.holds_s = holds_s


class NoSolution(InstallFailed):
    """No set of versions satisfies all requirements, or a package does not exist."""


class BuildFailed(InstallFailed):
    """There is no wheel of a package, and its source does not build."""


def mask(text: str) -> str:
    """Replace the user and password of every URL in `text`."""
    return _CREDENTIALS.sub(_MASK, text)


def check_requirements(requirements: Sequence[str]) -> None:
    """Raise InstallFailed for a text that a requirements file would read as an option or as several lines."""
    for text in requirements:
        if not _REQUIREMENT.fullmatch(text.strip()):
            raise InstallFailed(f"{text!r} is no requirement; write a package's name and versions, as in 'numpy>=2'")


class Uv:
    """Runs uv.

    `base_env` is the environment to start from (PATH, HOME, proxies); `cache` the folder of uv's cache where that
    environment has none that can be written. With `wheels_only` nothing is built from source, which would run what its
    author wrote with all the rights of this process. With `compiled` packages are compiled to bytecode at once.
    """

    def __init__(
        self,
        binary: str,
        base_env: Mapping[str, str],
        cache: Path,
        *,
        wheels_only: bool = False,
        compiled: bool = False,
    ) -> None:
        self._binary = binary
        self._source = ["--only-binary", ":all:"] if wheels_only else []
        self._bytecode = ["--compile-bytecode"] if compiled else []
        self._env = uv_environment(base_env, cache)

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

        `installed` is a folder with the metadata of what is there already; nothing is written to it that matters.
        `work` is a private folder for files that uv reads. Raises NoSolution, InstallFailed.
        """
        command = ["pip", "install", "--dry-run", "--python", python, "--target", str(installed), *self._source]
        command += ["-r", _write(work / "dependencies", requirements)]
        if constraints:
            command += ["-c", _write(work / "constraints", constraints)]
        result = await self._run(command, index, work)
        if result.status != 0:
            raise failure(result.stderr, requirements, work)
        return _added(result.stderr, requirements)

    async def install(
        self, python: str, packages: Sequence[str], index: PackageIndex, *, work: Path, target: Path | None = None
    ) -> None:
        """Install exactly `packages` (what `plan` or `lock` returned) into `target`, or into the interpreter itself.

        Files whose hashes are given must have one of them. Raises InstallFailed.
        """
        command = ["pip", "install", "--no-deps", "--python", python, "-r", _write(work / "packages", packages)]
        command += [*self._source, *self._bytecode]
        if packages and all(_HASH in package for package in packages):
            command.append("--require-hashes")
        if target is not None:
            command += ["--target", str(target)]
        # What is exact is the same from the cache, and asking the index again would take longer than installing.
        result = await self._run(command, index, work, {"UV_OFFLINE": "1"})
        if result.status != 0 and _ONLY_ONLINE.search(result.stderr):
            result = await self._run(command, index, work)
        if result.status != 0:
            raise failure(result.stderr, packages, work)

    async def lock(
        self,
        requirements: Sequence[str],
        index: PackageIndex,
        *,
        python: str,
        platform: str,
        work: Path,
        known: Sequence[str] = (),
    ) -> tuple[str, ...]:
        """Resolve for another interpreter ("major.minor") and platform (in uv's words), the lines of a lock.

        Versions of the lock `known` stay where they can. Raises NoSolution, InstallFailed.
        """
        how = ["--generate-hashes", "--no-annotate"]
        text = await self._compiled(requirements, index, python, platform, work, known, how)
        return _unmasked(text, requirements)

    async def needed_by(
        self,
        requirements: Sequence[str],
        index: PackageIndex,
        *,
        python: str,
        platform: str,
        work: Path,
        known: Sequence[str],
    ) -> dict[str, tuple[str, ...]]:
        """Which packages of the lock `known` need each other one, by their names; see `lock`."""
        text = await self._compiled(requirements, index, python, platform, work, known, ["--annotation-style", "line"])
        found = {}
        for line in text.splitlines():
            name, (_, _, via) = _NAME.match(line), line.partition("# via ")
            if name is not None:
                needing = (each.strip() for each in via.split(","))
                found[_normal(name[0])] = tuple(each for each in needing if each and not each.startswith("-"))
        return found

    async def _compiled(
        self,
        requirements: Sequence[str],
        index: PackageIndex,
        python: str,
        platform: str,
        work: Path,
        known: Sequence[str],
        how: Sequence[str],
    ) -> str:
        """What uv resolves requirements to. Raises NoSolution, InstallFailed."""
        command = ["pip", "compile", _write(work / "dependencies", requirements), "--no-header", *how]
        command += ["--python-version", python, "--python-platform", platform]
        command += ["--python", sys.executable]  # builds what says what it needs only when it is built
        command += ["--output-file", _write(work / "lock", known), *self._source]
        result = await self._run(command, index, work)
        if result.status != 0:
            raise failure(result.stderr, requirements, work)
        return (work / "lock").read_text(encoding="utf-8")

    async def create(self, python: str, folder: Path) -> None:
        """Make a virtual environment of the interpreter's version in `folder`. Raises InstallFailed."""
        result = await self._run(["venv", "--python", python, str(folder)], PackageIndex(), folder.parent)
        if result.status != 0:
            raise InstallFailed(
                f"no virtual environment could be made from {python}; uv says:\n{_words(result.stderr)}"
            )

    async def find(self, version: str, cwd: Path) -> str | None:
        """Path of an interpreter with the version "major.minor" that uv knows on this machine, or None."""
        result = await self._run(["python", "find", "--system", version], PackageIndex(), cwd)
        return result.stdout.strip() if result.status == 0 else None

    async def installed(self, cwd: Path) -> dict[str, str]:
        """The interpreters that uv knows on this machine: the path by the name of the version, the first of each."""
        listed = await self._run(["python", "list", "--only-installed"], PackageIndex(), cwd)
        rows = [line.split() for line in reversed(listed.stdout.splitlines())]
        return {row[0]: row[1] for row in rows if len(row) > 1}

    async def download(self, version: str, folder: Path, cwd: Path) -> str:
        """Let uv fetch an interpreter of the version "major.minor" into `folder`; its path. Raises InstallFailed."""
        own = {
            "UV_PYTHON_DOWNLOADS": "manual",
            "UV_PYTHON_INSTALL_DIR": str(folder),
            "UV_PYTHON_INSTALL_BIN": "0",
            "UV_PYTHON_PREFERENCE": "only-managed",
        }
        result = await self._run(["python", "install", version], PackageIndex(), cwd, own)
        if result.status == 0:
            result = await self._run(["python", "find", "--system", version], PackageIndex(), cwd, own)
        if result.status != 0:
            raise InstallFailed(
                f"Python {version} could not be downloaded; check the network and the proxy, or install it and name it "
                f"in FLASH_PYTHONS. uv says:\n{_words(result.stderr)}",
                holds_s=OUTAGE_S,
            )
        return result.stdout.strip()

    async def _run(
        self, command: Sequence[str], index: PackageIndex, cwd: Path, own: Mapping[str, str] | None = None
    ) -> CommandResult:
        options = ["--no-index"] if index.no_index and command[0] == "pip" else []  # uv has no variable for this one
        try:
            result = await run_command(
                [self._binary, *command, *options],
                env={**self._env, **index_environment(index), **(own or {})},
                cwd=cwd,
            )
        except FileNotFoundError as error:
            if error.filename != self._binary:
                raise
            raise InstallFailed(f"uv is missing at {self._binary}; reinstall runpod-flash") from None
        if result.status < 0:
            raise cut_off("uv", result)
        return result


def uv_environment(base_env: Mapping[str, str], cache: Path) -> dict[str, str]:
    """The environment for uv: `base_env` without what would point it elsewhere, and this module's settings."""
    env = {name: value for name, value in base_env.items() if name in _OWN_VARIABLES or not name.startswith(_STRANGERS)}
    if "UV_CACHE_DIR" not in env and not _writable(_default_cache(env)):
        env["UV_CACHE_DIR"] = str(cache)
    return env | _SETTINGS


def index_environment(index: PackageIndex) -> dict[str, str]:
    """pip's settings as variables for uv. Variables, because other users of the machine can read command lines."""
    env: dict[str, str] = {}
    if index.index_url and not index.no_index:
        env["UV_DEFAULT_INDEX"] = _url(index.index_url)
    if index.extra_index_urls and not index.no_index:
        env["UV_INDEX"] = " ".join(map(_url, index.extra_index_urls))
    # pip passes over folders that do not exist, uv fails.
    if links := [_url(link) for link in index.find_links if not _missing(link)]:
        env["UV_FIND_LINKS"] = ",".join(links)
    if index.trusted_hosts:
        env["UV_INSECURE_HOST"] = " ".join(index.trusted_hosts)
    if index.cert:
        env["SSL_CERT_DIR" if os.path.isdir(index.cert) else "SSL_CERT_FILE"] = index.cert
    return env


def failure(output: str, requirements: Sequence[str], work: Path | None = None) -> InstallFailed:
    """Say what uv's `output` means: no solution, no network, a full disk, a failed build; its words at the end."""
    words = _words(output if work is None else output.replace(f"{work}{os.sep}", ""))
    names = named(requirements)
    if _MISMATCH in words:
        return mismatch("uv", words)
    if _NO_SOLUTION in words:
        return NoSolution(f"no versions satisfy {names}; change a version or a name. uv says:\n{words}")
    if _FULL.search(words):
        return InstallFailed(f"the disk is full: {names} could not be installed. uv says:\n{words}", holds_s=0)
    if _UNREACHABLE.search(words):
        holds_s = math.inf if _REFUSED.search(words) else OUTAGE_S
        return InstallFailed(
            f"{names} could not be fetched: the package index did not answer as it should. Check the network, the proxy"
            f" and pip's configuration (index-url, cert), then call again. uv says:\n{words}",
            holds_s=holds_s,
        )
    if _UNBUILDABLE.search(words):
        return BuildFailed(
            f"{names} could not be built: there is no wheel for this Python and the source does not build here. uv"
            f" says:\n{words}"
        )
    return InstallFailed(f"{names} could not be installed. uv says:\n{words}")


def named(requirements: Sequence[str]) -> str:
    """The first of the requirements, without hashes, for a message."""
    names = ", ".join(text.partition(f" {_HASH}")[0] for text in requirements[:8])
    return names + (f" and {len(requirements) - 8} more" if len(requirements) > 8 else "")


def mismatch(program: str, words: str) -> InstallFailed:
    """A package's file is not the one that was locked."""
    return InstallFailed(
        "a package is not the one that was locked: the hash of its file is another by now, so nothing was installed. "
        f"Build the lock anew if you trust its index. {program} says:\n{words}"
    )


def cut_off(program: str, result: CommandResult) -> InstallFailed:
    """The failure of an installer that a signal has ended, which says nothing about the packages."""
    number = -result.status
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    said = f" It had said:\n{_words(result.stderr)}" if result.stderr.strip() else ""
    return InstallFailed(
        f"{program} was ended by {name} in the midst of its work: it was killed, or memory ran out; call again.{said}",
        holds_s=0,
    )


def _words(output: str) -> str:
    """uv's output from its error on, without warnings and progress before it; of a very long one both ends."""
    lines = output.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(("error:", "  ×", "  x ", "× "))), 0)
    words = "\n".join(lines[start:]).strip()
    if len(words) <= _LONGEST:
        return words
    return f"{words[: _LONGEST // 2].rstrip()}\n[…]\n{words[-_LONGEST // 2 :].lstrip()}"  # the end has the conclusion


def _added(output: str, requirements: Sequence[str]) -> tuple[str, ...]:
    """The lines " + name==version" of a dry run as requirements.

    uv masks credentials in the URLs that it prints; what the user asked for by URL is then taken as they wrote it.
    """
    written = {_normal(match[0]): text for text in requirements if "@" in text and (match := _NAME.match(text.strip()))}
    added = []
    for match in _ADDED.finditer(output):
        name, version, url = match["name"], match["version"], match["url"] or match["origin"]
        if url is None:
            added.append(f"{name}=={version}")
        elif _MASK in url and _normal(name) in written:
            added.append(written[_normal(name)])
        else:
            added.append(f"{name} @ {url}")
    return tuple(sorted(added))


def _unmasked(lock: str, requirements: Sequence[str]) -> tuple[str, ...]:
    """The lines of a lock, each package in one. Credentials that uv has masked are those that the user wrote."""
    written = {_normal(match[0]): text for text in requirements if "@" in text and (match := _NAME.match(text.strip()))}
    lines = []
    for line in lock.replace("\\\n", "").splitlines():
        name = _NAME.match(line)
        if name is None:
            continue
        own = _CREDENTIALS.search(written.get(_normal(name[0]), ""))
        lines.append(" ".join((line.replace(_MASK, own[0]) if own else line).split()))
    return tuple(sorted(lines))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _write(path: Path, lines: Sequence[str]) -> str:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    return str(path)


def _url(place: str) -> str:
    """A local path as a file URL (which has no commas and spaces), everything else as it is."""
    return Path(place).as_uri() if place.startswith("/") else place


def _missing(place: str) -> bool:
    if place.startswith("file:"):
        place = unquote(urlsplit(place).path)
    return place.startswith("/") and not os.path.exists(place)


def _default_cache(env: Mapping[str, str]) -> Path | None:
    if env.get("XDG_CACHE_HOME"):
        return Path(env["XDG_CACHE_HOME"])
    return Path(env["HOME"]) / ".cache" if env.get("HOME") else None


def _writable(folder: Path | None) -> bool:
    """Whether `folder`, or what it would be made in, can be written."""
    while folder is not None and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder is not None and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
