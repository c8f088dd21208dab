"""Programs that ask for a key without having one: what they wait with, and what the owner says to each.

Whoever can reach this server may ask, so little is remembered, of each address and of all. The key is made when the
program comes for it, not before: nothing that opens anything is kept meanwhile.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from runpod_flash.control_plane.api_keys import ApiKeys
from runpod_flash.control_plane.principals import Scope
from runpod_flash.control_plane.problems import Problem

LIFETIME_S: Final = 600.0
"""How long the owner has to answer, in seconds."""

MOST_OF_ONE: Final = 10
"""The most that are remembered of one address."""

MOST: Final = 200
"""The most that are remembered of all."""

_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"  # none is taken for another, and they spell no words
_GROUP: Final = 4


class LoginState(StrEnum):
    """How an asked-for login stands."""

    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    CLAIMED = "claimed"


@dataclass(slots=True)
class Login:
    """One program that asks. Times are seconds of the clock; `code` is what the owner is told, `label` and `address`
    are what is known of who asks."""

    code: str
    label: str
    address: str
    until: float
    digest: str = field(repr=False)  # sha256 of the secret
    state: LoginState = LoginState.WAITING
    user: str = ""
    name: str = ""
    scope: Scope = Scope.FULL
    endpoints: Sequence[str] = ()


class Logins:
    """All that ask now. They are in memory alone: after a restart programs ask again. `clock` never goes back."""

    def __init__(self, keys: ApiKeys, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._logins: dict[str, Login] = {}  # by code

    def ask(self, label: str, address: str) -> tuple[Login, str]:
        """A new one, and the secret with which its program comes for the key.

        Raises:
            Problem: 429, too many are remembered of this address, or of all.
        """
        self._forget()
        same = [login for login in self._logins.values() if login.address == address]
        if len(same) >= MOST_OF_ONE:
            raise self._too_many("from your address", same)
        if len(self._logins) >= MOST:
            raise self._too_many("here", list(self._logins.values()))
        secret = secrets.token_urlsafe(32)
        login = Login(self._new_code(), label, address, self._clock() + LIFETIME_S, _digest(secret))
        self._logins[login.code] = login
        return login, secret

    def waiting(self) -> Sequence[Login]:
        """Those that the owner has not answered, the oldest first."""
        self._forget()
        return [login for login in self._logins.values() if login.state is LoginState.WAITING]

    def left_s(self, login: Login) -> float:
        """Seconds until it is forgotten."""
        return max(0.0, login.until - self._clock())

    def approve(
        self, code: str, user: str, *, name: str = "", scope: Scope = Scope.FULL, endpoints: Sequence[str] = ()
    ) -> Login:
        """Give a key to the program that has this code, when it comes for it. It is named as it is labelled.

        Raises:
            Problem: 404, none waits with this code.
            ConfigError: there can be no such key.
        """
        login = self._waiting_for(code)
        self._keys.check_new(user, scope, endpoints)
        login.user, login.name, login.scope, login.endpoints = user, name or login.label, scope, tuple(endpoints)
        login.state = LoginState.APPROVED
        return login

    def deny(self, code: str) -> None:
        """Give it none. Raises Problem: 404, none waits with this code."""
        self._waiting_for(code).state = LoginState.DENIED

    async def claim(self, secret: str) -> tuple[Login, str] | None:
        """The key, made now, for the program that has this secret; None while the owner has not answered.

        Raises:
            Problem: 403, it was denied; 404, unknown, expired, or the key was given already.
            ConfigError, StoreError: it could not be made; it can be asked for again.
        """
        self._forget()
        given, found = _digest(secret), None
        for login in self._logins.values():
            if hmac.compare_digest(login.digest, given):
                found = login
        if found is None or found.state is LoginState.CLAIMED:
            raise Problem(404, "no login waits with this secret: it has expired, or its key was given already")
        if found.state is LoginState.DENIED:
            raise Problem(403, "the owner of the control plane has denied this login", code="AuthError")
        if found.state is LoginState.WAITING:
            return None
        found.state = LoginState.CLAIMED  # before anything else can run: a key is given once
        try:
            _, key = await self._keys.create(found.user, name=found.name, scope=found.scope, endpoints=found.endpoints)
        except BaseException:
            found.state = LoginState.APPROVED
            raise
        return found, key

    def _waiting_for(self, code: str) -> Login:
        self._forget()
        login = self._logins.get(code.upper())
        if login is None or login.state is not LoginState.WAITING:
            raise Problem(404, f"no login waits with the code {code!r:.80}; it may have expired")
        return login

    def _forget(self) -> None:
        """Drop those whose time is over. Answered ones are kept until then, too: so nobody asks without end."""
        now = self._clock()
        self._logins = {code: login for code, login in self._logins.items() if login.until > now}

    def _too_many(self, where: str, those: Sequence[Login]) -> Problem:
        seconds = max(1, round(min(map(self.left_s, those))))
        detail = f"too many logins are asked for {where}; try again in {seconds} s"
        return Problem(429, detail, headers={"Retry-After": str(seconds)})

    def _new_code(self) -> str:
        while True:
            letters = "".join(secrets.choice(_LETTERS) for _ in range(2 * _GROUP))
            code = f"{letters[:_GROUP]}-{letters[_GROUP:]}"
            if code not in self._logins:
                return code


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
