"""The control plane's settings: read once from the environment, handed down as one frozen object."""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from runpod_flash.control_plane import listen
from runpod_flash.control_plane.expiry import ExpiryTerms
from runpod_flash.control_plane.limits import Limits, Rate
from runpod_flash.control_plane.listen import Listen
from runpod_flash.control_plane.principals import Pickles
from runpod_flash.control_plane.python_search import PythonPlaces
from runpod_flash.control_plane.terms import Terms
from runpod_flash.errors import ConfigError
from runpod_flash.hardware import DataCenter

T = TypeVar("T")

_PASSED_ON = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HF_HOME", "HF_TOKEN",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
)  # fmt: skip

_ENGINES: Final = (
    "PATH", "HOME", "TMPDIR", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH",
    "CONTAINER_HOST", "CONTAINERS_CONF",
)  # fmt: skip

_RATED: Final = ("keys", "nobody", "everybody")
_MAY_BE_ZERO: Final = (
    "queue_floor", "queue_per_worker", "per_worker", "balanced_wait_s", "affinity_wait_s", "webhook_tries",
    "webhook_gap_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlaneSettings:
    """What the operator can choose.

    Attributes:
        home: folder of all state (`FLASH_HOME`).
        port: loopback TCP port, 0 for a free one (`FLASH_PORT`).
        idle_exit_s: seconds without clients and jobs after which it leaves; 0: never (`FLASH_IDLE_EXIT_S`).
        lease_s: seconds without a beat after which a worker counts as dead (`FLASH_LEASE_S`).
        cancel_grace_s: seconds a cancelled call has to end before its worker is killed (`FLASH_CANCEL_GRACE_S`).
        drain_s: seconds that running jobs have at a stop (`FLASH_DRAIN_S`).
        install_failure_s: seconds a failed environment build is remembered (`FLASH_INSTALL_FAILURE_S`).
        terms: how long jobs may wait and live and are kept: those of our SDK wait `FLASH_QUEUE_TIMEOUT_S` and are kept
            `FLASH_KEEP_RESULTS_S`, those of the published API live `FLASH_TTL_S` and are kept `FLASH_KEEP_ASYNC_S`
            (run) or `FLASH_KEEP_SYNC_S` (runsync).
        expiry: a stage that was not renewed in time is removed after `FLASH_STAGE_GRACE_S` seconds; an endpoint that a
            script made without a deploy has no minimum of workers when it was not used for `FLASH_LIVE_IDLE_S`, and is
            removed after `FLASH_LIVE_EXPIRY_S`; 0: never.
        disk_limit: bytes that jobs and values may use; 0: no bound (`FLASH_DISK_LIMIT_GB`).
        disk_patience_s: seconds a large result waits for room on a full disk (`FLASH_DISK_PATIENCE_S`).
        arena_mb: megabytes of memory that may be shared with programs and workers of this machine for large values; 0:
            none; None: half of what is free at the start (`FLASH_ARENA_MB`).
        power_safe: whether commits survive a loss of power, too (`FLASH_DURABILITY=power`).
        allow_builds: whether a server that listens for others may build packages from source, which runs what their
            authors wrote outside of any worker (`FLASH_ALLOW_BUILDS=1`).
        allow_apt: whether apt packages may be installed (`FLASH_ALLOW_APT=1`).
        published_only: whether there is nothing below `/flash/v1/`, the published API alone (`FLASH_PUBLISHED_ONLY=1`).
        pythons: where interpreters of other Python versions are (`FLASH_PYTHONS`, a list of paths; `PATH`;
            `PYENV_ROOT`), and whether they may be downloaded (`FLASH_DOWNLOAD_PYTHON=1`).
        pickles: whose pickles workers load: everybody's, the owner's, or nobody's (`FLASH_PICKLES`). Others send code
            as files and values in the neutral encoding.
        datacenter: where this machine is said to be (`FLASH_DATACENTER=EU-RO-1`, else `RUNPOD_DC_ID`): of an endpoint's
            network volumes its workers see the one there; else, or with "", the first that is listed.
        fake_gpus: a stand-in inventory for tests, "NVIDIA L4:24,NVIDIA L4:24" (`FLASH_FAKE_GPUS`); None: the real one.
        fake_cuda: with `fake_gpus`, the CUDA version that their driver supports, "12.4" (`FLASH_FAKE_CUDA`).
        container_engine: the program that runs the images of endpoints, docker's or podman's, by name or path
            (`FLASH_CONTAINER_ENGINE`); "": the first of both that is on the PATH.
        allow_images: whether users other than the owner may have images run, which their container engine does with
            rights of its own (`FLASH_ALLOW_IMAGES=1`).
        engine_env: the variables by which that program finds its engine (`DOCKER_HOST` and others).
        listen: where it listens for others (`FLASH_LISTEN=HOST:PORT`), with TLS (`FLASH_TLS_CERT`, `FLASH_TLS_KEY`) or
            in clear (`FLASH_INSECURE=1`); None: for this user only.
        limits: the bounds of the published API. Each has the name of its field: `FLASH_RUN_BYTES=10485760`, and each
            rate that of its operation, as requests in ten seconds and at a time: `FLASH_RATE_RUN=1000/200`.
        direct: whether programs may give calls straight to workers (`FLASH_DIRECT=0`: none may); see `lends`.
        forks: whether workers are forked, where the system can; else each is started anew (`FLASH_FORK=0`).
        trace: the socket that hears when calls cross which border (`FLASH_TRACE`, `wire.tracing`); "": nobody does.
        runtime_home: where sockets may live (`XDG_RUNTIME_DIR`).
        base_env: the variables that workers and installers start from.
    """

    home: Path
    port: int
    idle_exit_s: float
    lease_s: float
    cancel_grace_s: float
    drain_s: float
    install_failure_s: float
    terms: Terms
    expiry: ExpiryTerms
    disk_limit: int
    disk_patience_s: float
    arena_mb: int | None
    power_safe: bool
    allow_apt: bool
    allow_builds: bool
    published_only: bool
    pythons: PythonPlaces
    pickles: Pickles
    datacenter: str
    fake_gpus: str | None
    fake_cuda: str | None
    container_engine: str
    allow_images: bool
    engine_env: Mapping[str, str]
    listen: Listen | None
    limits: Limits
    direct: bool
    forks: bool
    trace: str
    runtime_home: Path | None
    base_env: Mapping[str, str]

    @property
    def shared_megabytes(self) -> int | None:
        """See `arena_mb`. No memory is shared with others, nor where commits survive a loss of power: it does not."""
        return 0 if self.listen is not None or self.published_only or self.power_safe else self.arena_mb

    @property
    def lends(self) -> bool:
        """Whether workers are lent; not where commits survive a loss of power, for then calls must be written first."""
        return self.direct and not self.power_safe


def load(environ: Mapping[str, str] | None = None) -> PlaneSettings:
    """Read the settings. Raises ConfigError naming the variable that cannot be read."""
    env = os.environ if environ is None else environ
    if not env.get("FLASH_HOME"):
        raise ConfigError("FLASH_HOME is not set; the control plane needs a folder for its state")
    usual = Terms()
    return PlaneSettings(
        home=Path(env["FLASH_HOME"]),
        port=_number(env, "FLASH_PORT", int, 0),
        idle_exit_s=_number(env, "FLASH_IDLE_EXIT_S", float, 900.0),
        lease_s=_number(env, "FLASH_LEASE_S", float, 10.0),
        cancel_grace_s=_number(env, "FLASH_CANCEL_GRACE_S", float, 3.0),
        drain_s=_number(env, "FLASH_DRAIN_S", float, 10.0),
        install_failure_s=_number(env, "FLASH_INSTALL_FAILURE_S", float, 120.0),
        terms=Terms(
            queue_timeout_s=_number(env, "FLASH_QUEUE_TIMEOUT_S", float, usual.queue_timeout_s),
            keep_s=_number(env, "FLASH_KEEP_RESULTS_S", float, usual.keep_s),
            ttl_s=_number(env, "FLASH_TTL_S", float, usual.ttl_s),
            keep_async_s=_number(env, "FLASH_KEEP_ASYNC_S", float, usual.keep_async_s),
            keep_sync_s=_number(env, "FLASH_KEEP_SYNC_S", float, usual.keep_sync_s),
        ),
        expiry=_expiry(env),
        disk_limit=round(_number(env, "FLASH_DISK_LIMIT_GB", float, 50.0) * 1024**3),
        disk_patience_s=_number(env, "FLASH_DISK_PATIENCE_S", float, 10.0),
        arena_mb=_number(env, "FLASH_ARENA_MB", int, 0) if env.get("FLASH_ARENA_MB") else None,
        power_safe=_choice(env, "FLASH_DURABILITY", ("process", "power")) == "power",
        allow_builds=env.get("FLASH_ALLOW_BUILDS", "") == "1",
        allow_apt=env.get("FLASH_ALLOW_APT", "") == "1",
        published_only=env.get("FLASH_PUBLISHED_ONLY", "") == "1",
        pythons=_pythons(env),
        pickles=Pickles(_choice(env, "FLASH_PICKLES", tuple(Pickles))),
        datacenter=_datacenter(env),
        fake_gpus=env.get("FLASH_FAKE_GPUS"),
        fake_cuda=_cuda(env),
        container_engine=env.get("FLASH_CONTAINER_ENGINE", ""),
        allow_images=env.get("FLASH_ALLOW_IMAGES", "") == "1",
        engine_env={name: value for name, value in env.items() if name in _ENGINES or name.startswith("XDG_")},
        listen=listen.parse(
            env.get("FLASH_LISTEN", ""),
            env.get("FLASH_TLS_CERT", ""),
            env.get("FLASH_TLS_KEY", ""),
            insecure=env.get("FLASH_INSECURE", "") == "1",
        ),
        limits=_limits(env),
        direct=_choice(env, "FLASH_DIRECT", ("1", "0")) == "1",
        forks=_choice(env, "FLASH_FORK", ("1", "0")) == "1",
        trace=env.get("FLASH_TRACE", ""),
        runtime_home=Path(env["XDG_RUNTIME_DIR"]) if env.get("XDG_RUNTIME_DIR") else None,
        base_env={
            name: value for name, value in env.items() if name in _PASSED_ON or name.startswith(("LC_", "UV_", "XDG_"))
        },
    )


def _expiry(env: Mapping[str, str]) -> ExpiryTerms:
    usual = ExpiryTerms()
    return ExpiryTerms(
        stage_grace_s=_number(env, "FLASH_STAGE_GRACE_S", float, usual.stage_grace_s),
        live_idle_s=_number(env, "FLASH_LIVE_IDLE_S", float, usual.live_idle_s),
        live_expiry_s=_number(env, "FLASH_LIVE_EXPIRY_S", float, usual.live_expiry_s),
    )


def _pythons(env: Mapping[str, str]) -> PythonPlaces:
    home = env.get("HOME")
    pyenv = env.get("PYENV_ROOT") or (os.path.join(home, ".pyenv") if home else None)
    return PythonPlaces(
        named=tuple(filter(None, env.get("FLASH_PYTHONS", "").split(os.pathsep))),
        path=tuple(filter(None, env.get("PATH", "").split(os.pathsep))),
        pyenv=Path(pyenv) if pyenv else None,
        download=env.get("FLASH_DOWNLOAD_PYTHON", "") == "1",
    )


def _limits(env: Mapping[str, str]) -> Limits:
    """The bounds of the API: the published ones but for those that are set."""
    usual, chosen = Limits(), dict[str, Any]()
    for each in fields(Limits):
        name, default = f"FLASH_{each.name.upper()}", getattr(usual, each.name)
        if isinstance(default, dict):
            chosen[each.name] = {operation: _rate(env, operation, rate) for operation, rate in default.items()}
        elif isinstance(default, bool):
            chosen[each.name] = env.get(name, "1" if default else "") == "1"
        elif isinstance(default, str):
            chosen[each.name] = _choice(env, name, (default, *(value for value in _RATED if value != default)))
        else:
            chosen[each.name] = _number(env, name, type(default), default, zero=each.name in _MAY_BE_ZERO)
    return Limits(**chosen)


def _datacenter(env: Mapping[str, str]) -> str:
    text = env.get("FLASH_DATACENTER", "").strip().upper().replace("_", "-")
    if text and text not in list(DataCenter):
        raise ConfigError(f"FLASH_DATACENTER is {text!r:.80}; it must be one of {', '.join(DataCenter)}")
    return text or env.get("RUNPOD_DC_ID", "")


def _cuda(env: Mapping[str, str]) -> str | None:
    text = env.get("FLASH_FAKE_CUDA") or None
    if text is not None and not re.fullmatch(r"\d+\.\d+", text):
        raise ConfigError(f"FLASH_FAKE_CUDA is {text!r:.80}; it must be a version such as 12.8")
    return text


def _rate(env: Mapping[str, str], operation: str, default: Rate) -> Rate:
    name = f"FLASH_RATE_{operation.upper().replace('-', '_')}"
    text = env.get(name)
    if not text:
        return default
    parts = text.split("/")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
        raise ConfigError(
            f"{name} is {text!r:.80}; it must be REQUESTS/CONCURRENT, for example {default.requests}/"
            f"{default.concurrent}: how many in ten seconds and how many at a time, 0 for any number"
        )
    return Rate(*map(int, parts))


def _choice(env: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = env.get(name) or allowed[0]
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; it must be {' or '.join(allowed)}")
    return value


def _number(env: Mapping[str, str], name: str, kind: Callable[[str], T], default: T, *, zero: bool = True) -> T:
    text = env.get(name)
    if not text:
        return default
    try:
        value = kind(text)
        good = math.isfinite(value) and (value > 0 or (zero and value == 0))  # type: ignore[arg-type, operator]
    except (ValueError, OverflowError):
        good = False
    if not good:
        raise ConfigError(f"{name} is {text!r:.80}; it must be a number {'of 0 or more' if zero else 'above 0'}")
    return value
