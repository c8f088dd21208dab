"""One program, live and against what is deployed: FLASH_APP and FLASH_ENV decide, and the results are the same."""

import json
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
ALL = [f"shop:{name}" for name in ("echo", "sell", "count", "Till", "outer", "doubled", "api")]

CLIENT = """
import asyncio, datetime, decimal, json, uuid
import shop
from shop import Item, Size, SoldOut

def told(call):
    try:
        return repr(call())
    except Exception as error:
        return [type(error).__module__, type(error).__name__, repr(error.args)]

hat = Item("hat", Size.SMALL)
moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
values = [None, True, 2**80, 1.5, "ü", b"\\0\\xff", moment, moment.date(), decimal.Decimal("1.10"), uuid.UUID(int=7),
          {1, 2}, (1, [2]), {1: "a", "b": {"c": None}}, hat, Size.SMALL, b"x" * 400_000]
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
"""


@pytest.fixture
def shop(shared_place: Place) -> Place:
    shared_place.write("shop.py", SHOP)
    return shared_place


def deploy(place: Place, app: str, stage: str, *names: str) -> None:
    place.run(["-m", "tests.support.deploying", app, stage, *names]).good()


def said(place: Place, script: str, env: dict[str, str] | None = None, name: str = "client.py") -> Any:
    """The last line that a script prints, as JSON."""
    return json.loads(place.run_script(script, env=env, name=name).good().stdout.splitlines()[-1])


@pytest.mark.slow
def test_live_and_deployed_calls_give_the_same(shop: Place) -> None:
    deploy(shop, "shop", "test", *ALL)
    before = [each["id"] for each in shop.endpoints()]
    deployed = said(shop, CLIENT, {"FLASH_APP": "shop", "FLASH_ENV": "test"})
    assert [each["id"] for each in shop.endpoints()] == before
    assert said(shop, CLIENT) == deployed
    failed = [each for each in deployed if isinstance(each, list)]
    assert failed == [["shop", "SoldOut", "('hat', 10)"]]  # all else has a value


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


def test_what_differs_from_what_is_deployed_is_refused_before_it_runs(shop: Place) -> None:
    deploy(shop, "changed", "test", "shop:sell", "shop:Till")
    here = {"FLASH_APP": "changed", "FLASH_ENV": "test"}
    lines = shop.run_script(CHANGED, env=here, name="changed.py").good().stdout.splitlines()
    misfit = "CallError the call does not fit what is deployed as"
    expected = (
        f"{misfit} 'sell': it has no parameter 'wrapped'; it takes (item, count=…, gift=…). The code has changed",
        f"{misfit} 'sell': its parameter number 2 is 'count', and not 'number'; it takes",
        f"{misfit} 'till.pay': it has no parameter 'tip' as its number 2; it takes (amount)",
        f"{misfit} 'till.refund': it has no method 'refund'",
        "EndpointNotFound stage 'test' of app 'changed' has no endpoint 'sall'; did you mean 'sell'? To deploy",
        "EndpointNotFound stage 'test' of app 'changed' has no endpoint 'tills'; did you mean 'till'?",
        "NotPortable argument item of sell() is an object, which only a pickle could carry, and deployed endpoints",
    )
    assert len(lines) == len(expected)
    for line, begin in zip(lines, expected, strict=True):
        assert line.startswith(begin)
    workers = [each["workers"] for each in shop.endpoints() if each["project"] == "app:changed/test"]
    assert [sum(each.values()) for each in workers] == [0, 0]  # none was started for any of these
    away = shop.run_script(CHANGED, env={**here, "FLASH_ENV": "tset"}, name="changed.py").good().stdout.splitlines()
    assert away[0].startswith("StageNotFound ")
    assert away[0].endswith("to make it of this project: `flash deploy --app changed --env tset`")


def test_names_mean_the_stage_and_its_workers_call_each_other(shop: Place) -> None:
    for stage in ("test", "production"):
        deploy(shop, "store", stage, "shop:outer", "shop:sell", "shop:api")
    script = """
import json, shop
hat = shop.Item("hat", shop.Size.SMALL)
value, app, stage = shop.outer.remote(hat)
print(json.dumps([value.name, app, stage, shop.api.post.blocking("/words", {"text": "a"})["stage"]]))
"""
    there = {"FLASH_APP": "store"}
    assert said(shop, script, {**there, "FLASH_ENV": "test"}) == ["1 hat", "store", "test", "test"]
    assert said(shop, script, there) == ["1 hat", "store", "production", "production"]
    found = [(each["name"], each["project"]) for each in shop.endpoints() if "store" in each["project"]]
    assert sorted(found) == [
        (name, f"app:store/{stage}") for name in ("api", "outer", "sell") for stage in ("production", "test")
    ]
