"""Find the control planes of this user and ask them what they do."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from flash_cli import published
from runpod_flash import settings
from runpod_flash.backends import daemon
from runpod_flash.errors import AuthError, BackendError, BackendUnavailable
from runpod_flash.release import content_hash
from runpod_flash.settings import Settings
from runpod_flash.state_folder import PlaneRecord, StateFolder

PATIENCE_S = 10.0


def state_folder(chosen: Settings | None = None) -> StateFolder:
    """Where the control plane of this user and of this version of the package keeps its state."""
    chosen = chosen or settings.load()
    return StateFolder(chosen.home, content_hash(), chosen.runtime_home)


def overview(state: StateFolder, record: PlaneRecord) -> dict[str, Any]:
    """What a running control plane says about itself, its endpoints, workers and jobs.

    Raises:
        BackendUnavailable: it does not answer.
        AuthError: it refuses the key.
        BackendError: it answers something else.
    """
    return _asked(state, record, "GET", "/flash/v1/status", missing=published.overview)


def ask(method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the running control plane of this version answers to its owner; empty where it has nothing to say.

    Raises:
        BackendUnavailable: none runs, or it does not answer.
        AuthError, BackendError: as `overview`; where it refuses, the message is its reason.
    """
    state = state_folder()
    record = daemon.running(state)
    if record is None:
        raise BackendUnavailable("no control plane of this version runs; start it with `flash server start`")
    return _asked(state, record, method, path, body)


def _asked(
    state: StateFolder,
    record: PlaneRecord,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    missing: Callable[[httpx.Client], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """`missing` answers instead where there is no such path."""
    name = f"the control plane (process {record.pid})"
    headers = {"Authorization": f"Bearer {state.read_key() or ''}"}
    silent = f"stop it with `flash server stop` (its log: {state.log})"
    way = daemon.reach(record)
    if way is None:
        raise BackendUnavailable(f"{name} runs but does not answer; {silent}")
    try:
        with opened(way) as client:
            client.headers.update(headers)
            answer = client.request(method, path, json=body)
            if answer.status_code == httpx.codes.NOT_FOUND and missing is not None:
                return missing(client)
    except httpx.TransportError as error:
        raise BackendUnavailable(f"{name} does not answer ({error}); {silent}") from error
    except (httpx.HTTPError, ValueError, TypeError, LookupError) as error:
        raise BackendError(f"{name} cannot say what it does: {error} (its log: {state.log})") from error
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise AuthError(f"{name} refuses the key in {state.key_path}; stop it with `flash server stop`")
    try:
        found = answer.json() if answer.content else {}
        if answer.is_client_error:
            raise BackendError(str(found["detail"]))
        answer.raise_for_status()
        return dict(found)
    except (httpx.HTTPStatusError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise BackendError(f"{name} cannot say what it is asked: {error} (its log: {state.log})") from error


def opened(way: str) -> httpx.Client:
    """A client for the control plane that is reached so; the way is one of `daemon.reach`."""
    kind, _, address = way.partition(":")
    if kind == "unix":
        return httpx.Client(transport=httpx.HTTPTransport(uds=address), base_url="http://flash", timeout=PATIENCE_S)
    return httpx.Client(base_url=f"http://{address}", timeout=PATIENCE_S, trust_env=False)
