"""Routes of one endpoint on shared workers, over the real control plane: served, called, streamed, rolled, lost."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.place import Place
from tests.support.pythons import find_python
from tests.support.waiting import wait_until

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHER = next((version for version in ("3.13", "3.12", "3.11") if version != HERE and find_python(version)), None)

STORE = """
import asyncio, json, os, sys
from collections.abc import Iterator
from pydantic import BaseModel
from runpod_flash import Endpoint
from runpod_flash.errors import ResponseError

api = Endpoint(name="store", cpu="cpu3c-1-2", workers=(0, 2), idle_timeout=60)
made = 0

class Item(BaseModel):
    name: str
    price: float = 1.5

@api.post("/predict")
async def predict(data: dict) -> dict:
    global made
    made += 1
    print("predicted", made)
    return {"prediction": data, "pid": os.getpid()}

@api.get("/made")
async def count():
    return {"made": made}

@api.put("/shops/{shop}/items")
def put_item(shop: str, item: Item, count: int = 2):
    return {"shop": shop, "item": item, "count": count}

@api.patch("/item")
def change(item: Item) -> Item:
    return item

@api.delete("/items/{number}")
def remove(number: int, reason: str = "none"):
    return [number, reason]

@api.post("/upload")
async def upload(image: bytes, name: str, copies: int = 1):
    return {"bytes": len(image), "name": name, "copies": copies}

@api.get("/lines")
def lines(n: int, prefix: str = "x") -> Iterator[str]:
    for number in range(n):
        yield f"{prefix}{number}\\n"

@api.get("/fails")
def fails():
    raise ValueError("on purpose")

async def status_of(request):
    try:
        await request
    except ResponseError as error:
        return error.status, error.body

"""

CALLS = """
async def main():
    here = await predict({"a": 0})
    answers = {
        "here": [here["pid"] == os.getpid(), made],
        "wrapped": (await api.post("/predict", {"data": {"a": 1}}))["prediction"],
        "bare": (await api.post("/predict", {"a": 2, "b": 3}))["prediction"],
        "made": await api.get("/made"),
        "item": await api.put("/shops/north/items", {"item": {"name": "pen"}}),
        "changed": await api.patch("/item", {"name": "ink", "price": 3}),
        "removed": await api.delete("/items/7", {"reason": "old"}),
        "upload": await api.post("/upload", {"image": b"x" * 1000, "name": "dot", "copies": 3}),
        "lines": await api.get("/lines", params={"n": 2, "prefix": "y"}),
        "refused": (await status_of(api.patch("/item", {"price": "much"})))[0],
        "failed": (await status_of(api.get("/fails")))[0],
        "absent": (await status_of(api.get("/nothing"))),
        "ping": await api.get("/ping"),
        "docs": "/lb/" in await api.get("/docs"),
        "paths": sorted((await api.get("/openapi.json"))["paths"]),
    }
    print("answers", json.dumps(answers))
    print("url", api.url.endswith("/lb/" + api.id), api.is_load_balanced)
asyncio.run(main())
print("blocking", api.get.blocking("/made"), api.provision().id == api.id)
"""


def test_routes_answer_as_fastapi_has_it_and_what_they_print_is_seen(shared_place: Place) -> None:
    done = shared_place.run_script(STORE + CALLS, timeout_s=170).good()
    said = [line for line in done.stdout.splitlines() if line.startswith("answers ")]
    answers = json.loads(said[0].removeprefix("answers "))
    assert answers == {
        "here": [True, 1],
        "wrapped": {"a": 1},
        "bare": {"a": 2, "b": 3},
        "made": {"made": 3},  # the call that ran here has made one, which went along
        "item": {"shop": "north", "item": {"name": "pen", "price": 1.5}, "count": 2},
        "changed": {"name": "ink", "price": 3.0},
        "removed": [7, "old"],
        "upload": {"bytes": 1000, "name": "dot", "copies": 3},
        "lines": "y0\ny1\n",
        "refused": 422,
        "failed": 500,
        "absent": [404, {"detail": "Not Found"}],
        "ping": {"status": "healthy"},
        "docs": True,
        "paths": [
            "/fails",
            "/item",
            "/items/{number}",
            "/lines",
            "/made",
            "/predict",
            "/shops/{shop}/items",
            "/upload",
        ],
    }
    assert "url True True" in done.stdout
    assert "blocking {'made': 3} True" in done.stdout
    assert "predicted 2" in done.stdout


APPLICATION = """
import contextlib
from fastapi import FastAPI, WebSocket

@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.begun = "begun"
    yield
    open("{ended}", "w").close()

def make():
    app = FastAPI(lifespan=lifespan)

    @app.get("/state")
    async def state():
        return {{"begun": app.state.begun}}

    @app.websocket("/echo")
    async def echo(socket: WebSocket):
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text.upper())

    return app
"""

USES = """
import asyncio, json, os, sys
from pathlib import Path
import aiohttp
from runpod_flash import Endpoint
from application_of_routes import make

site = Endpoint(name="site", cpu="cpu3c-1-2", idle_timeout=1)
site.asgi(make)

async def main():
    found = await site.provision()
    print("state", await site.get("/state"), await site.get("/ping"))
    key = next(Path(os.environ["FLASH_HOME"]).glob("planes/*/key")).read_text().strip()
    bearer = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=bearer) as session:
        async with session.ws_connect(found.url + "/echo") as socket:
            await socket.send_str("hello")
            print("echo", await socket.receive_str())
asyncio.run(main())
"""


@pytest.mark.slow
def test_a_whole_application_with_its_lifespan_and_a_websocket(shared_place: Place, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    shared_place.write("application_of_routes.py", APPLICATION.format(ended=ended))
    done = shared_place.run_script(USES, timeout_s=100).good()
    assert done.stdout.splitlines() == ["state {'begun': 'begun'} {'status': 'healthy'}", "echo HELLO"]
    wait_until(ended.exists, 30, "the lifespan ends with the worker")


LIFE = """
import asyncio, json, os, signal, sys
from pathlib import Path
import httpx
from runpod_flash import Endpoint
from runpod_flash.errors import ResponseError

api = Endpoint(name="life", cpu="cpu3c-1-2", workers=(0, 2), idle_timeout=60, env={"COLOUR": sys.argv[2]})
VERSION, MARK = int(sys.argv[1]), Path(sys.argv[3])

@api.get("/version")
def version():
    return {"version": VERSION, "colour": os.environ["COLOUR"]}

@api.get("/slow")
async def slow():
    MARK.with_suffix(".begun").touch()
    try:
        await asyncio.sleep(60)
    finally:
        MARK.with_suffix(".left").touch()

@api.get("/endless")
async def endless():
    try:
        while True:
            yield {"tick": 1}
            await asyncio.sleep(0.01)
    finally:
        MARK.with_suffix(".closed").touch()

@api.get("/die")
def die():
    os.kill(os.getpid(), signal.SIGKILL)

async def there(suffix):
    async with asyncio.timeout(20):
        while not MARK.with_suffix(suffix).exists():
            await asyncio.sleep(0.01)
"""

LEAVES = """
async def main():
    task = asyncio.create_task(api.get("/slow"))
    await there(".begun")
    task.cancel()
    await there(".left")
    key = next(Path(os.environ["FLASH_HOME"]).glob("planes/*/key")).read_text().strip()
    bearer = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=api.url, headers=bearer, timeout=30) as client:
        async with client.stream("GET", "/endless") as answer:
            lines = answer.aiter_lines()
            print("streams", answer.headers["content-type"], await anext(lines), await anext(lines))
    await there(".closed")
    try:
        await api.get("/die")
    except ResponseError as error:
        print("died", error.status)
    print("lives", await api.get("/version"))

asyncio.run(main())
"""


def test_who_leaves_ends_the_request_and_a_killed_worker_is_an_error_of_that_request_alone(
    shared_place: Place, tmp_path: Path
) -> None:
    done = shared_place.run_script(
        LIFE + LEAVES, name="life.py", arguments=["1", "red", str(tmp_path / "mark")], timeout_s=100
    )
    assert done.good().stdout.splitlines() == [
        'streams application/x-ndjson {"tick":1} {"tick":1}',
        "died 502",
        "lives {'version': 1, 'colour': 'red'}",
    ]


ROLLS = """
async def main():
    print("own", await api.get("/version"))
asyncio.run(main())
"""

ROLLED_UNDER_LOAD = """
async def main():
    before = await api.provision() if sys.argv[4] == "serve" else None
    print("own", await api.get("/version"), flush=True)
    key = next(Path(os.environ["FLASH_HOME"]).glob("planes/*/key")).read_text().strip()
    bearer = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=api.url, headers=bearer, timeout=30) as client:
        seen = []
        async with asyncio.timeout(60):
            while not MARK.with_suffix(".rolled").exists() or seen[-1] != [200, int(sys.argv[5])]:
                answer = await client.get("/version")
                seen.append([answer.status_code, answer.json().get("version")])
                MARK.with_suffix(".asked").touch()
    print("seen", json.dumps([list(each) for each in sorted(set(map(tuple, seen)))]))
asyncio.run(main())
"""


@pytest.mark.slow
def test_changed_code_and_env_are_rolled_without_a_failed_request(shared_place: Place, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = shared_place.write("life.py", LIFE + ROLLED_UNDER_LOAD)
    load = shared_place.start([str(script), "1", "red", str(mark), "serve", "2"])
    try:
        wait_until(mark.with_suffix(".asked").exists, 60, "requests are under way")
        new = shared_place.run_script(LIFE + ROLLS, name="life.py", arguments=["2", "blue", str(mark)], timeout_s=100)
        assert new.good().stdout.strip() == "own {'version': 2, 'colour': 'blue'}"
        mark.with_suffix(".rolled").touch()
        said, _ = load.communicate(timeout=60)
    finally:
        load.kill()
        load.communicate()
    assert said.splitlines() == ["own {'version': 1, 'colour': 'red'}", "seen [[200, 1], [200, 2]]"]


ELSEWHERE = """
import asyncio, sys
from pydantic import BaseModel
from runpod_flash import Endpoint
from runpod_flash.errors import NotPortable
from routes_in_a_module import twice

api = Endpoint(name="elsewhere", cpu="cpu3c-1-2", python_version={python!r})
lost = Endpoint(name="lost", cpu="cpu3c-1-2", python_version={python!r})

class Item(BaseModel):
    name: str

@api.post("/item")
async def item(item: Item):
    return [twice(item.name), "%d.%d" % sys.version_info[:2]]

async def main():
    print(await api.post("/item", {{"name": "ab"}}))
    lost.get("/x")(lambda: 1)
    try:
        await lost.get("/x")
    except NotPortable as error:
        print("refused", "lambda" in str(error))

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(OTHER is None, reason="there is one Python version on this machine")
def test_routes_of_files_are_served_by_another_python(shared_place: Place) -> None:
    shared_place.write("routes_in_a_module.py", "def twice(text):\n    return text * 2\n")
    done = shared_place.run_script(ELSEWHERE.format(python=OTHER), timeout_s=170).good()
    assert done.stdout.splitlines() == [f"['abab', '{OTHER}']", "refused True"]
