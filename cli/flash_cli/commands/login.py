"""`flash login`: come to a key for a platform, and keep it."""

import getpass
import platform
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

import httpx

from flash_cli import console, target_key
from flash_cli.commands.target import warn_of_variable
from flash_cli.plain_client import plain_client
from runpod_flash import runpod_config, settings, targets
from runpod_flash.errors import AuthError, BackendError, BackendUnavailable, ConfigError, WaitTimedOut
from runpod_flash.settings import Settings

RUNPOD = "runpod"
POLL_S = 1.0
"""How often the platform is asked whether its owner has answered, in seconds."""

_REQUEST_S = 10.0
_LABEL = 100  # characters
_API, _CONSOLE = "https://api.runpod.io", "https://console.runpod.io"
_NO_LOGINS = (401, 403, 404, 405)  # of a platform that knows nothing of logins


def login(where: str | None, *, open_page: bool, timeout_s: float, key_stdin: bool) -> None:
    """Come to a key for a platform (a URL, the name of one that is noted, RUNPOD; None: the chosen one) and keep it.

    The key is piped or typed, and tried first; or given by the platform's owner, who is waited for so many seconds.

    Raises:
        ConfigError: there is no such platform, or what keeps keys cannot be written.
        BackendUnavailable, AuthError, BackendError: it does not answer, refuses or denies the key.
        WaitTimedOut: nobody answered.
    """
    chosen = settings.load()
    if where == RUNPOD:
        _login_at_runpod(chosen, open_page=open_page, key_stdin=key_stdin)
        return
    url = _url(where, chosen)
    given = target_key.given(f"{url} (empty: ask its owner for one)", None, key_stdin=key_stdin)
    key, source = given or ("", "")
    if not key:
        if key_stdin:
            raise ConfigError("standard input has no key; pipe one, or leave --key-stdin out")
        key = _ask_owner(url, timeout_s)  # which the platform itself has given, once: it need not be tried
    else:
        target_key.check(url, key, source)
    targets.write(chosen.home, targets.read(chosen.home).using(url, key))
    console.say(f"logged in: calls go to {url}")
    target_key.warn_of_plain_http(url)
    warn_of_variable(chosen)
    if chosen.environ.get("FLASH_API_KEY", key) != key:
        console.say("warning: FLASH_API_KEY is set to another key, which goes before this one as long as it is set")


def _url(where: str | None, chosen: Settings) -> str:
    if where is not None:
        return targets.read(chosen.home).resolved(where)
    if not chosen.target.startswith("http"):
        raise ConfigError(
            f"calls go to this machine, which needs no login; for another platform say flash login URL, "
            f"for Runpod's cloud flash login {RUNPOD}"
        )
    return chosen.target


def _ask_owner(url: str, timeout_s: float) -> str:
    """The key that the platform's owner lets us have."""
    with plain_client(url, timeout_s=_REQUEST_S) as client:
        asked = _asked(client, url)
        console.note(
            f"Ask the owner of {url} to let you in with this code:\n\n    {asked['code']}\n\n"
            f"The owner says: flash server keys approve {asked['code']} --user YOUR-NAME"
        )
        patience_s = min(timeout_s, float(asked["expiresIn"]))
        end = time.monotonic() + patience_s
        while True:
            key = _claimed(client, str(asked["secret"]))
            if key is not None:
                return key
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise WaitTimedOut(
                    f"nobody let you in with {asked['code']} within {console.duration(patience_s)}; "
                    "ask the owner and say flash login again"
                )
            time.sleep(min(POLL_S, left_s))


def _asked(client: httpx.Client, url: str) -> dict[str, Any]:
    try:
        answer = client.post("/flash/v1/logins", json={"label": _label()})
    except httpx.TransportError as error:
        raise BackendUnavailable(f"{url} cannot be reached ({error}); is it the right URL, and does it run?") from error
    if answer.status_code in _NO_LOGINS:
        raise BackendError(
            f"{url} gives no keys this way (status {answer.status_code}); get one from its owner and say "
            "flash login in a terminal, or pipe it: flash login URL --key-stdin"
        )
    try:
        asked = dict(answer.json())
        if answer.status_code == httpx.codes.CREATED:
            return {name: asked[name] for name in ("code", "secret", "expiresIn")}
        raise BackendError(str(asked["detail"]))
    except (ValueError, LookupError, TypeError) as error:
        raise BackendError(f"{url} is no platform for calls: it answers a login with {answer.text!r:.80}") from error


def _label() -> str:
    """Who asks, in words for the owner."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        user = "somebody"
    return "".join(filter(str.isprintable, f"{user} on {platform.node()}"))[:_LABEL]


def _claimed(client: httpx.Client, secret: str) -> str | None:
    """The key, None while there is no answer. What cannot be reached for a moment is asked again."""
    try:
        answer = client.post("/flash/v1/logins/claim", json={"secret": secret})
        if answer.status_code == httpx.codes.OK:
            return str(answer.json()["key"])
        if answer.status_code == httpx.codes.ACCEPTED or answer.is_server_error:
            return None
        detail = str(answer.json()["detail"])
    except httpx.TransportError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise BackendError(f"the platform answers a login with {answer.text!r:.80}") from error
    raise AuthError(f"{detail}; say flash login again, or ask the owner")


def _login_at_runpod(chosen: Settings, *, open_page: bool, key_stdin: bool) -> None:
    """Keep a key for Runpod's cloud where Runpod's own tools keep it."""
    page = f"{chosen.environ.get('RUNPOD_CONSOLE_URL', _CONSOLE).rstrip('/')}/user/settings"
    if not key_stdin and sys.stdin.isatty():
        console.note(f"Keys are made at {page}")
        if open_page:
            webbrowser.open(page)
    key, source = target_key.given("Runpod", None, key_stdin=key_stdin) or ("", "")
    if not key:
        raise ConfigError(
            f"there is no key; make one at {page} and type it, or pipe it: flash login runpod --key-stdin"
        )
    _check_at_runpod(chosen.environ.get("RUNPOD_API_BASE_URL", _API).rstrip("/"), key, source)
    home = chosen.user_home or Path.home()
    runpod_config.keep(home, key)
    console.say(f"logged in: the key is kept in {runpod_config.path_of(home)}")
    if chosen.runpod_api_key not in (None, key):
        console.say("warning: RUNPOD_API_KEY is set to another key, which goes before this one as long as it is set")


def _check_at_runpod(base: str, key: str, source: str) -> None:
    try:
        with plain_client(base, key, timeout_s=_REQUEST_S) as client:
            answer = client.get("/v2/serverless")
    except httpx.TransportError as error:
        raise BackendUnavailable(f"{base} cannot be reached ({error}), so the key was not kept") from error
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise AuthError(f"{base} refuses the key from {source}; it was not kept")
    if not answer.is_success:
        raise BackendError(f"{base} answers with status {answer.status_code}, so the key was not kept; try again")
