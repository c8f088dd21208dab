"""`flash undeploy`: names, lists, questions in a real terminal, and what is left when something cannot be removed."""

import asyncio
import json
import sys
from typing import Any, cast

import pexpect
import pytest

from flash_cli.commands.undeploy import _remove_all
from flash_cli.finding import Found
from runpod_flash.backends.base import AppStore, Backend
from runpod_flash.errors import StageBusy
from tests.support.app_plane import manifest, pages, with_apps
from tests.support.place import Place

LIVE = """
from runpod_flash import Endpoint
for name in ("live-1", "live-2"):
    Endpoint(name=name, cpu="cpu3c-1-2").provision.blocking()
"""


def names(place: Place) -> list[str]:
    listed = json.loads(place.flash("undeploy", "list", "--json").good().stdout)
    return sorted(each["name"] for each in listed["endpoints"])


@pytest.mark.slow
def test_without_a_terminal_names_are_enough_and_all_needs_a_word(place: Place) -> None:
    async def deploy(apps: AppStore) -> None:
        await apps.create_stage("shop", "production")
        await apps.deploy("shop", "production", manifest(pages("a", "x")), base=0)

    place.run_script(LIVE).good()
    with_apps(place, deploy)
    assert names(place) == ["a", "live-1", "live-2"]
    assert "is removed" in place.flash("undeploy", "live-1").good().stdout
    unknown = place.flash("undeploy", "live-3")
    assert (unknown.status, "did you mean live-2?" in unknown.stderr) == (1, True)
    for wrong in ((), ("a", "--all"), ("--all", "--interactive")):
        assert place.flash("undeploy", *wrong).status == 2
    refused = place.flash("undeploy", "--all")
    assert (refused.status, "say --force to agree" in refused.stderr) == (1, True)
    assert names(place) == ["a", "live-2"]
    said = json.loads(place.flash("undeploy", "--all", "--force", "--json").good().stdout)
    assert (len(said["removed"]), said["failed"]) == (2, [])
    assert names(place) == []
    assert place.flash("undeploy", "--all", "--force").status == 1  # there is nothing


@pytest.mark.slow
def test_in_a_terminal_it_asks(place: Place) -> None:
    place.run_script(LIVE).good()

    def started(*words: str) -> "pexpect.spawn[str]":
        arguments = ["-m", "flash_cli", "undeploy", *words]
        env = cast(Any, place.env({"TERM": "xterm"}))
        return pexpect.spawn(sys.executable, arguments, cwd=str(place.project), env=env, encoding="utf-8", timeout=30)

    def ended(program: "pexpect.spawn[str]") -> int | None:
        program.expect(pexpect.EOF)
        program.close()
        return cast("int | None", program.exitstatus)

    one = started("live-1")
    one.expect(r"\[y/N\]")
    one.sendline("n")
    assert ended(one) == 0  # as it was wanted
    every = started("--all")
    every.expect(r"all 2 endpoints.*\[y/N\]")
    every.sendline("y")
    every.expect("Type DELETE ALL to go on:")
    every.sendline("delete all")
    assert ended(every) == 0
    assert names(place) == ["live-1", "live-2"]
    some = started("--interactive")
    some.expect("Which, by their numbers")
    some.sendline("2")
    assert ended(some) == 0
    assert names(place) == ["live-1"]
    every = started("--all")
    every.expect(r"\[y/N\]")
    every.sendline("y")
    every.expect("to go on:")
    every.sendline("DELETE ALL")
    assert ended(every) == 0
    assert names(place) == []


def test_all_others_go_where_one_cannot() -> None:
    gone = list[str]()

    class Apps:
        async def delete_endpoint(self, app: str, stage: str, endpoint: str) -> None:
            raise StageBusy("a deploy is under way")

    class Target:
        apps = Apps()

        async def delete(self, endpoint_id: str) -> None:
            gone.append(endpoint_id)

    endpoints = [Found("1", "a", app="shop", stage="production"), Found("2", "b"), Found("3", "c")]
    failed = asyncio.run(_remove_all(cast(Backend, Target()), endpoints, as_json=False))
    assert (failed, gone) == (["a (shop/production): a deploy is under way"], ["2", "3"])
