"""Find the control planes of this user and ask them what they do."""

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
    name = f"the control plane (process {record.pid})"
    headers = {"Authorization": f"Bearer {state.read_key() or ''}"}
    silent = f"stop it with `flash server stop` (its log: {state.log})"
    way = daemon.reach(record)
    if way is None:
        raise BackendUnavailable(f"{name} runs but does not answer; {silent}")
    try:
        with _client(way) as client:
            client.headers.update(headers)
            answer = client.get("/flash/v1/status")
            if answer.status_code == httpx.codes.NOT_FOUND:
                return published.overview(client)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                raise AuthError(f"{name} refuses the key in {state.key_path}; stop it with `flash server stop`")
            return dict(answer.raise_for_status().json())
    except httpx.TransportError as error:
        raise BackendUnavailable(f"{name} does not answer ({error}); {silent}") from error
    except (httpx.HTTPStatusError, ValueError, TypeError, LookupError) as error:
        raise BackendError(f"{name} cannot say what it does: {error} (its log: {state.log})") from error


def _client(way: str) -> httpx.Client:
    kind, _, address = way.partition(":")
    if kind == "unix":
        return httpx.Client(transport=httpx.HTTPTransport(uds=address), base_url="http://flash", timeout=PATIENCE_S)
    return httpx.Client(base_url=f"http://{address}", timeout=PATIENCE_S, trust_env=False)
