"""`flash server keys`: make, list and revoke the keys with which others use this control plane."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from flash_cli import console, plane

PATH = "/flash/v1/keys"
LOGINS = "/flash/v1/logins"


def create(user: str, *, name: str, scope: str, endpoints: Sequence[str]) -> None:
    """Make a key and print it: it cannot be had again.

    Raises:
        BackendUnavailable: no control plane runs, or it does not answer.
        BackendError: it refuses; the message says why.
    """
    wanted = {"user": user, "name": name, "scope": scope, "endpoints": list(endpoints)}
    made = plane.ask("POST", PATH, wanted)
    console.say(str(made["key"]))
    console.note(f"key {made['id']} of user {made['user']}; it is shown this once: only what it hashes to is kept")


def show(*, as_json: bool) -> None:
    """List all keys, revoked ones too. Raises as `create`."""
    keys = plane.ask("GET", PATH)["keys"]
    if as_json:
        console.data({"keys": keys})
    elif not keys:
        console.say("no keys")
    else:
        console.table(("ID", "USER", "NAME", "SCOPE", "MADE", ""), [_row(key) for key in keys])


def revoke(key_id: str) -> None:
    """Refuse a key from now on. Raises as `create`."""
    plane.ask("DELETE", f"{PATH}/{quote(key_id, safe='')}")
    console.say(f"key {key_id} is revoked")


def approve(code: str, wanted: Mapping[str, Any]) -> None:
    """Give a key as `wanted` to the program that has shown this code. Raises as `create`."""
    login = plane.ask("POST", f"{LOGINS}/{quote(code, safe='')}/approve", wanted)
    console.say(f"{login['label']} gets a key of user {wanted['user']}")


def deny(code: str) -> None:
    """Give none to the program that has shown this code. Raises as `create`."""
    plane.ask("DELETE", f"{LOGINS}/{quote(code, safe='')}")
    console.say(f"{code} is denied")


def requests(*, as_json: bool) -> None:
    """List the programs that ask for a key and have no answer. Raises as `create`."""
    logins = plane.ask("GET", LOGINS)["logins"]
    if as_json:
        console.data({"logins": logins})
    elif not logins:
        console.say("nobody asks for a key")
    else:
        rows = [(each["code"], each["label"], each["address"], f"{each['expiresIn']} s") for each in logins]
        console.table(("CODE", "WHO", "FROM", "LEFT"), rows)


def _row(key: Mapping[str, Any]) -> tuple[str, ...]:
    scope = ", ".join([key["scope"], *key["endpoints"]])
    made = f"{console.since(key['created'])} ago"
    revoked = "" if key["revoked"] is None else f"revoked {console.since(key['revoked'])} ago"
    return key["id"], key["user"], key["name"] or "-", scope, made, revoked
