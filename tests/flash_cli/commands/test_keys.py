"""`flash server keys` with a real control plane. What keys open is in tests/acceptance/test_server_for_others.py."""

import json
import re

import pytest

from tests.support.place import Place


def test_without_a_control_plane_there_is_nothing_to_ask(place: Place) -> None:
    for arguments in (["create", "--user", "a"], ["list"], ["revoke", "x"]):
        done = place.flash("server", "keys", *arguments)
        assert done.status == 1
        assert "start it with `flash server start`" in done.stderr


@pytest.mark.slow
def test_made_listed_revoked(place: Place) -> None:
    place.serve()
    assert place.flash("server", "keys", "list").good().stdout == "no keys\n"
    made = place.flash("server", "keys", "create", "--user", "alice", "--name", "a laptop").good()
    key = made.stdout.strip()
    assert re.fullmatch(r"flash_[0-9a-f]{16}_[\w-]{43}", key)
    assert "shown this once" in made.stderr
    listed = place.flash("server", "keys", "list", "--json").good().stdout
    (shown,) = json.loads(listed)["keys"]
    assert key not in listed
    assert (shown["user"], shown["name"], shown["scope"], shown["endpoints"]) == ("alice", "a laptop", "full", [])
    assert place.flash("server", "keys", "revoke", shown["id"]).good().stdout == f"key {shown['id']} is revoked\n"
    row = place.flash("server", "keys", "list").good().stdout.splitlines()[1]
    assert re.fullmatch(rf"{shown['id']}  alice  a laptop  full +.* ago +revoked .* ago", row)


@pytest.mark.slow
def test_what_is_wrong_is_said(place: Place) -> None:
    place.serve()
    for arguments, status, said in (
        (["create"], 2, "--user"),
        (["create", "--user", "a", "--scope", "admin"], 2, "--scope"),
        (["create", "--user", "A"], 1, "error: field 'user' is 'A'"),
        (["create", "--user", "a", "--endpoint", "x"], 1, "error: field 'endpoints' is for keys of scope 'endpoint'"),
        (["create", "--user", "a", "--scope", "endpoint"], 1, "error: field 'endpoints' has 0 items"),
        (["revoke", "../status"], 1, "error: "),
        (["revoke", "x"], 1, "error: there is no key 'x'"),
    ):
        done = place.flash("server", "keys", *arguments)
        assert (done.status, said in done.stderr) == (status, True), done.stderr
