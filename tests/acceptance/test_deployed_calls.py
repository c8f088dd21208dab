"""One program, live and against what is deployed: FLASH_APP and FLASH_ENV decide, and the results are the same."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.place import Place

SHOP = """
import dataclasses, datetime, enum, os
from runpod_flash import Endpoint

CPU = {"cpu": "cpu3c-1-2", "workers": (0, 1), "idle_timeout": 120}

class Size(enum.Enum):
    SMALL = "small"

@dataclasses.dataclass
class Item:
    name: str
    size: Size

class SoldOut(Exception):
    pass

@Endpoint(name="echo", **CPU)
def echo(*values, **named):
    return values, named

@Endpoint(name="sell", **CPU)
def sell(item, count=1, *, gift=False):
    if count > 9: raise SoldOut(item.name, count)
    return Item(f"{count} {item.name}{' as a gift' if gift else ''}", item.size)

@Endpoint(name="count", **CPU)
def count(upto):
    for number in range(upto):
        yield number
    if upto > 2: raise SoldOut("numbers")

@Endpoint(name="till", **CPU)
class Till:
    def __init__(self, start): self.sum = start
    def pay(self, amount):
        self.sum += amount
        return self.sum

@Endpoint(name="outer", **CPU)
def outer(item):
    return sell.remote(item), os.environ.get("FLASH_APP"), os.environ.get("FLASH_ENV")

@Endpoint(name="doubled", batch=(4, 5), **CPU)
def doubled(numbers): return [2 * number for number in numbers]

api = Endpoint(name="api", **CPU)
@api.post("/words")
def words(text: str): return {"words": text.split(), "stage": os.environ.get("FLASH_ENV")}
"""
CLIENT = """
import asyncio, datetime, decimal, json, uuid
import shop
from shop import Item, Size, SoldOut

def main():

    def told(call):
        try:
            return repr(call())
        except Exception as error:
            return [type(error).__module__, type(error).__name__, repr(error.args)]

    hat = Item("hat", Size.SMALL)
    moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    values = [None, True, 2**80, 1.5, "ü", b"\\0\\xff", moment, moment.date(), decimal.Decimal("1.10"),
              uuid.UUID(int=7), {1, 2}, (1, [2]), {1: "a", "b": {"c": None}}, hat, Size.SMALL, b"x" * 400_000]
    results = [told(lambda: shop.echo.remote(value, as_name=value)) for value in values]
    results += [told(lambda: shop.sell.remote(hat, 2, gift=True)), told(lambda: shop.sell.remote(hat, 10))]
    results += [told(lambda: asyncio.run(call())) for call in (lambda: shop.sell(hat, count=3),)]
    results.append(told(lambda: list(shop.sell.map([hat, hat], [1, 2]))))
    results.append(told(lambda: list(shop.count.stream(2))))
    def some():
        seen = []
        try:
            for number in shop.count.stream(3): seen.append(number)
        except SoldOut as error:
            return seen, error.args
    results.append(told(some))
    with shop.Till(5) as till:
        results += [told(lambda: till.pay.remote(1)), told(lambda: till.pay.remote(1))]
    job = shop.sell.spawn(hat)
    results += [told(job.result), told(shop.sell.job(job.id).result)]
    results.append(told(lambda: job.id in [each.id for each in shop.sell.recover()]))
    results.append(told(lambda: list(shop.doubled.map([1, 2, 3]))))
    results.append(told(lambda: shop.api.post.blocking("/words", {"text": "a b"})["words"]))
    print(json.dumps(results))

if __name__ == "__main__":
    main()
"""


OWN = """
if __name__ == "__main__":
    value, app, stage = outer.remote(Item("hat", Size.SMALL))
    print(value.name, type(value) is Item, app, stage, api.post.blocking("/words", {"text": "a"})["stage"])
"""


@dataclass(frozen=True)
class Project:
    """A project of its own in a place, and the app that it is deployed as."""

    place: Place
    app: str
    folder: Path

    @classmethod
    def make(cls, place: Place, app: str) -> "Project":
        folder = place.project / app
        project = cls(place, app, folder)
        project.write("pyproject.toml", "")
        project.write("shop.py", SHOP)
        return project

    def write(self, name: str, text: str) -> None:
        self.place.write(f"{self.folder.name}/{name}", text)

    def deploy(self, stage: str) -> None:
        command = ["-m", "flash_cli", "deploy", "--app", self.app, "--env", stage, "--yes", "--no-smoke"]
        self.place.run(command, cwd=self.folder).good()

    def run(self, name: str, stage: str | None = None, **more: str) -> list[str]:
        """The lines that a script prints, live or against a stage; `more`: variables."""
        env = more if stage is None else {"FLASH_APP": self.app, "FLASH_ENV": stage, **more}
        return self.place.run([name], cwd=self.folder, env=env).good().stdout.splitlines()

    def endpoints(self) -> list[dict[str, Any]]:
        """Those of the app."""
        return [each for each in self.place.endpoints() if each["project"].startswith(f"app:{self.app}/")]


@pytest.mark.slow
def test_live_and_deployed_calls_give_the_same(shared_place: Place) -> None:
    project = Project.make(shared_place, "parity")
    project.write("client.py", CLIENT)
    project.deploy("test")
    before = {each["id"] for each in shared_place.endpoints()}
    deployed = json.loads(project.run("client.py", "test")[-1])
    assert {each["id"] for each in shared_place.endpoints()} == before
    assert json.loads(project.run("client.py")[-1]) == deployed
    failed = [each for each in deployed if isinstance(each, list)]
    assert failed == [["shop", "SoldOut", "('hat', 10)"]]  # all else has a value


@pytest.mark.slow
def test_names_mean_the_stage_and_its_workers_call_each_other(shared_place: Place) -> None:
    project = Project.make(shared_place, "store")
    project.write("shop.py", SHOP + OWN)
    for stage in ("test", "production"):
        project.deploy(stage)
        assert project.run("shop.py", stage) == [f"1 hat True store {stage} {stage}"]
    assert sorted((each["name"], each["project"]) for each in project.endpoints()) == [
        (name, f"app:store/{stage}")
        for name in ("api", "count", "doubled", "echo", "outer", "sell", "till")
        for stage in ("production", "test")
    ]


CHANGED = """
import shop
from runpod_flash import Endpoint
from runpod_flash.errors import *
def told(call):
    try: print("gave", call())
    except Exception as error: print(type(error).__name__, error)
@Endpoint(name="sell", cpu="cpu3c-1-2")
def sell(item, number=1, *, wrapped=False): ...
told(lambda: sell.remote(1, wrapped=True))
told(lambda: sell.remote(1, 2))
@Endpoint(name="till", cpu="cpu3c-1-2")
class Till:
    def pay(self, amount, tip): ...
    def refund(self): ...
told(lambda: Till().pay.remote(1, 2))
told(lambda: Till().refund.remote())
@Endpoint(name="sall", cpu="cpu3c-1-2")
def other(): ...
told(lambda: other.remote())
told(lambda: Endpoint(name="tills").run({"x": 1}))
told(lambda: shop.sell.remote(object()))
"""


@pytest.mark.slow
def test_what_differs_from_what_is_deployed_is_refused_before_it_runs(shared_place: Place) -> None:
    project = Project.make(shared_place, "changed")
    project.deploy("test")
    project.write("changed.py", CHANGED)
    lines = project.run("changed.py", "test")
    misfit = "CallError the call does not fit what is deployed as"
    expected = (
        f"{misfit} 'sell': it has no parameter 'wrapped'; it takes (item, count=…, gift=…). The code has changed",
        f"{misfit} 'sell': its parameter number 2 is 'count', and not 'number'; it takes",
        f"{misfit} 'till.pay': it has no parameter 'tip' as its number 2; it takes (amount)",
        f"{misfit} 'till.refund': it has no method 'refund'",
        "EndpointNotFound stage 'test' of app 'changed' has no endpoint 'sall'; did you mean 'sell'? To",
        "EndpointNotFound stage 'test' of app 'changed' has no endpoint 'tills'; did you mean 'till'?",
        "NotPortable argument item of sell() is an object, which only a pickle could carry, and deployed endpoints",
    )
    assert len(lines) == len(expected)
    for line, begin in zip(lines, expected, strict=True):
        assert line.startswith(begin)
    assert not any(sum(each["workers"].values()) for each in project.endpoints())  # none was started for these
    away = project.run("changed.py", "tset")
    assert away[0].startswith("StageNotFound ")
    assert away[0].endswith("to make it of this project: `flash deploy --app changed --env tset`")
    project.write("late.py", LATE)
    assert project.run("late.py", "test", FLASH_SENTINEL_TIMEOUT="0.05") == ["True 1 hat"]


LATE = """
import shop
from runpod_flash.errors import WaitTimedOut
try:
    shop.sell.remote(shop.Item("hat", shop.Size.SMALL))
except WaitTimedOut as error:
    job = shop.sell.job(str(error).split()[1])
    print("FLASH_SENTINEL_TIMEOUT" in str(error), job.result().name)
"""
NOTES = """
from pathlib import Path
from runpod_flash import Endpoint, NetworkVolume
from runpod_flash.errors import VolumeNotFound
notes = NetworkVolume("notes", size=10)
@Endpoint(name="write", cpu="cpu3c-1-2", volume=notes)
def write(text): Path("/runpod-volume/today.txt").write_text(text)
if __name__ == "__main__":
    Path("other.txt").write_text("from outside")
    notes.put("other.txt", "/")
    write.remote("it stays")
    print(sorted(entry.path for entry in notes.list()))
    try:
        NetworkVolume("absent").put("other.txt", "/")
    except VolumeNotFound as error:
        print(error)
"""


@pytest.mark.slow
def test_volumes_are_those_of_the_deployed_endpoints(shared_place: Place) -> None:
    project = Project.make(shared_place, "notebook")
    project.write("shop.py", NOTES)
    project.deploy("test")
    listed, absent = project.run("shop.py", "test")
    assert listed == "['/other.txt', '/today.txt']"
    assert absent.startswith("no endpoint in stage 'test' of app 'notebook' has a network volume 'absent' in EU-RO-1;")
