"""Every setting of the SDK: environment variables and the nearest .env file, read once into a frozen object.

The process environment wins over .env, of which only FLASH_ and RUNPOD_ names count; both win over what `flash target
use` has noted. Nothing is read at import.
"""

import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from runpod_flash import lazy
from runpod_flash.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

TARGETS = ("local", "inline")
LOG_STYLES = ("auto", "marked", "plain", "off")
ENCODINGS = ("auto", "neutral")

_PREFIXES = ("FLASH_", "RUNPOD_")

serving: ContextVar[str | None] = ContextVar("serving", default=None)
"""Name of the endpoint whose code runs here now, where a worker lives inside this process (the inline target)."""


@dataclass(frozen=True, eq=False)
class Settings:
    """What the user chose. Compared by identity: each is one reading of the environment.

    Attributes:
        target: "local", "inline", or the URL of a control plane (`FLASH_TARGET`, else `flash target use`).
        target_chosen: whether the user named the target, instead of getting the default.
        api_key: key for a control plane at a URL (`FLASH_API_KEY`, else the one noted for this URL).
        api_key_from: where it came from: the variable's name, or the path of a file.
        runpod_api_key: key for Runpod's cloud (`RUNPOD_API_KEY`).
        home: folder of the embedded control plane's state (`FLASH_HOME`, else the user's data folder).
        user_home: folder of the user's files (`HOME`), where other tools keep theirs; None in a worker.
        runtime_home: folder for sockets, where the system has one (`XDG_RUNTIME_DIR`).
        project: folder in which names of endpoints are unique (`FLASH_PROJECT`); None: the program's own.
        same_machine: whether a platform at a URL runs on this machine (`FLASH_SAME_MACHINE=1`, set in workers).
        in_worker: whether this program is the code of an endpoint, run by one of its workers.
        direct: whether calls may go straight to a worker that is lent to this program (`FLASH_DIRECT=0`: never).
        logs: how output of workers is shown: auto, marked, plain or off (`FLASH_LOGS`).
        encoding: "neutral" sends no pickles at all; "auto" sends them where they may go (`FLASH_ENCODING`).
        app: whose deployed endpoints calls go to (`FLASH_APP`); "": see `deployed`.
        stage: which stage of it (`FLASH_ENV`); "": as for `app`. With FLASH_IS_LIVE_PROVISIONING=true both are "".
        sentinel_timeout_s: seconds after which a call to a deployed endpoint does not wait any more
            (`FLASH_SENTINEL_TIMEOUT`); None: as long as it takes.
        environ: all variables, .env included; for what reads settings of other tools (pip's).
    """

    target: str = "local"
    target_chosen: bool = False
    api_key: str | None = field(default=None, repr=False)
    api_key_from: str = "FLASH_API_KEY"
    runpod_api_key: str | None = field(default=None, repr=False)
    home: "Path" = field(default_factory=lambda: _default_home())
    user_home: "Path | None" = None
    runtime_home: "Path | None" = None
    project: "Path | None" = None
    same_machine: bool = False
    in_worker: bool = False
    direct: bool = True
    logs: str = "auto"
    encoding: str = "auto"
    app: str = ""
    stage: str = ""
    sentinel_timeout_s: float | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    def runpod_key(self) -> tuple[str, str] | None:
        """The key for Runpod's cloud and where it is from: RUNPOD_API_KEY, else what `flash login runpod` has kept.

        Raises:
            ConfigError: the file that keeps it cannot be read.
        """
        if self.runpod_api_key:
            return self.runpod_api_key, "RUNPOD_API_KEY"
        if self.user_home is None:
            return None
        config = lazy.load("runpod_flash.runpod_config")
        kept = config.key(self.user_home)
        return None if kept is None else (kept, str(config.path_of(self.user_home)))


def load(environ: Mapping[str, str] | None = None, folder: "Path | None" = None) -> Settings:
    """Read the settings: from `environ`, else the process, and the nearest .env at or above `folder`, else here.

    Raises:
        ConfigError: a variable has a value that it cannot have; the message names it.
    """
    path = _path_type()
    process = dict(os.environ) if environ is None else dict(environ)
    env = {**_dotenv(path.cwd() if folder is None else folder), **process}
    home = path(env["FLASH_HOME"]).expanduser().absolute() if env.get("FLASH_HOME") else _default_home()
    return Settings(
        **_platform(env, home, in_worker=_is_worker(process)),
        runpod_api_key=env.get("RUNPOD_API_KEY") or None,
        home=home,
        user_home=path(process["HOME"]) if process.get("HOME") and not _is_worker(process) else None,
        runtime_home=path(env["XDG_RUNTIME_DIR"]) if env.get("XDG_RUNTIME_DIR") else None,
        project=path(env["FLASH_PROJECT"]).absolute() if env.get("FLASH_PROJECT") else None,
        same_machine=env.get("FLASH_SAME_MACHINE") == "1",
        in_worker=_is_worker(process),
        direct=_choice(env, "FLASH_DIRECT", ("1", "0")) == "1",
        logs=_choice(env, "FLASH_LOGS", LOG_STYLES),
        encoding=_choice(env, "FLASH_ENCODING", ENCODINGS),
        **_deployed(process if _is_worker(process) else env),  # a .env that lies near a worker is not its own
        environ=env,
    )


def served_here(name: str) -> bool:
    """Whether this process is a worker of the endpoint `name`, so that its function is the original one here."""
    if serving.get() == name:
        return True
    return _is_worker(os.environ) and os.environ.get("FLASH_RESOURCE_NAME") == name


def _is_worker(process: Mapping[str, str]) -> bool:
    return bool(process.get("RUNPOD_ENDPOINT_ID") and process.get("FLASH_RESOURCE_NAME"))


def _platform(env: Mapping[str, str], home: "Path", *, in_worker: bool) -> dict[str, Any]:
    """Which platform, and the key for it: of the environment, else as noted in `home`, but not in a worker."""
    named, key = env.get("FLASH_TARGET", ""), env.get("FLASH_API_KEY") or None
    found = {"target": _target(named), "target_chosen": bool(named), "api_key": key}
    if in_worker or (named and (key is not None or named in TARGETS)):
        return found
    targets = lazy.load("runpod_flash.targets")
    noted = targets.read(home)
    if not named and noted.current is not None:
        found |= {"target": noted.current, "target_chosen": True}
    known = noted.find(found["target"])
    if key is None and known is not None and known.key is not None:
        found |= {"api_key": known.key, "api_key_from": str(targets.path_of(home))}
    return found


def _target(text: str) -> str:
    if not text:
        return TARGETS[0]
    if text in TARGETS or text.startswith(("http://", "https://")):
        return text.rstrip("/")
    raise ConfigError(
        f"FLASH_TARGET is {text!r}; it must be {', '.join(TARGETS)} or the URL of a control plane (http://host:port)"
    )


def _deployed(env: Mapping[str, str]) -> dict[str, Any]:
    """Which deployed endpoints are meant; none with FLASH_IS_LIVE_PROVISIONING=true, as the original has it."""
    patience = env.get("FLASH_SENTINEL_TIMEOUT") or None
    try:
        seconds = None if patience is None else float(patience)
    except ValueError:
        seconds = 0.0
    if seconds is not None and not 0 < seconds < float("inf"):
        raise ConfigError(f"FLASH_SENTINEL_TIMEOUT is {patience!r}; it must be a number of seconds above 0")
    if env.get("FLASH_IS_LIVE_PROVISIONING", "").lower() == "true":
        return {}
    return {"app": env.get("FLASH_APP", ""), "stage": env.get("FLASH_ENV", ""), "sentinel_timeout_s": seconds}


def _choice(env: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = env.get(name) or allowed[0]
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
    return value


def _dotenv(folder: "Path") -> dict[str, str]:
    for place in (folder, *folder.absolute().parents):
        path = place / ".env"
        try:
            if path.is_file():
                values = lazy.load("dotenv").dotenv_values(path, interpolate=False)
                return {key: value for key, value in values.items() if value is not None and key.startswith(_PREFIXES)}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read ({error}); make it readable UTF-8 text or remove it") from error
    return {}


def _default_home() -> "Path":
    return _path_type()(lazy.load("platformdirs").user_data_path("runpod-flash"))


def _path_type() -> "type[Path]":
    return cast("type[Path]", lazy.load("pathlib").Path)  # 7 ms that a declaration does not need
