"""Remote classes: an object lives on one worker and keeps its state there."""

from tests.support.place import Place
from tests.support.waiting import wait_until

HEAD = """
import asyncio, gc, os
from runpod_flash import Endpoint
"""


def test_state_three_workers_and_interleaved_instances(shared_place: Place) -> None:
    script = (
        HEAD
        + """
@Endpoint(name="counter", cpu="cpu3c-1-2", workers=(0, 3))
class Counter:
    STEP = 1
    def __init__(self, start, *, name="c"):
        self.value, self.name, self.born = start, name, os.environ["RUNPOD_POD_ID"]
    def add(self, n=1):
        import time; time.sleep(0.02)
        self.value += n * self.STEP
        assert os.environ["RUNPOD_POD_ID"] == self.born
        return self.value
    async def show(self): return f"{self.name}={self.value}"
    def where(self): return self.born
    def __call__(self, x): return x + self.value
async def main():
    counters = [Counter(100 * i, name=f"c{i}") for i in range(6)]
    for _ in range(5):
        await asyncio.gather(*[c.add() for c in counters])
    await asyncio.gather(*[c.add(10) for c in counters for _ in range(3)])
    print(await asyncio.gather(*[c.show() for c in counters]))
    print(await counters[1](1), counters[0].add.remote(), await counters[0].add.spawn(1).result.aio())
    print(len({await c.where() for c in counters}) > 1)
asyncio.run(main())
"""
    )
    assert shared_place.run_script(script).good().stdout.splitlines() == [
        "['c0=35', 'c1=135', 'c2=235', 'c3=335', 'c4=435', 'c5=535']",
        "136 36 37",
        "True",
    ]


def test_a_dropped_object_is_closed(shared_place: Place) -> None:
    path = shared_place.project / "closed"
    script = (
        HEAD
        + f"""
@Endpoint(name="closing", cpu="cpu3c-1-2")
class Closing:
    def touch(self): return 1
    def close(self): open({str(path)!r}, "a").write("x")
thing = Closing()
thing.touch.remote()
del thing
gc.collect()
other = Closing()
other.touch.remote()
"""
    )
    shared_place.run_script(script).good()
    wait_until(lambda: path.exists() and path.read_text() == "xx", 20, "both objects closed")


def test_a_lost_object_is_built_anew_and_the_caller_is_told(shared_place: Place) -> None:
    script = (
        HEAD
        + """
@Endpoint(name="lost", cpu="cpu3c-1-2")
class Fragile:
    def __init__(self, start): self.value = start
    def add(self):
        self.value += 1
        return self.value
    def die(self): os._exit(3)
thing = Fragile(10)
assert thing.add.remote() == 11
from runpod_flash.errors import WorkerLost
try:
    thing.die.remote()
except WorkerLost as error:
    print(error.attempts, "code 3" in str(error))
print(thing.add.remote())
"""
    )
    done = shared_place.run_script(script).good()
    assert done.stdout.splitlines() == ["2 True", "11"]
    assert "built anew" in done.stderr


def test_mistakes_are_seen_before_anything_is_sent(shared_place: Place) -> None:
    script = (
        HEAD
        + """
from runpod_flash.errors import CallError
@Endpoint(name="mistakes", cpu="cpu3c-1-2")
class Model:
    def __init__(self, a): ...
    def predict(self, x): return x
for wrong in (lambda: Model(), lambda: Model(1).predict(), lambda: Model(1).predict(1, 2), lambda: Model(1).predikt(1)):
    try:
        wrong()
    except (CallError, AttributeError) as error:
        print(type(error).__name__)
"""
    )
    done = shared_place.run_script(script, env={"FLASH_TARGET": "http://127.0.0.1:9"})
    assert done.good().stdout.split() == ["CallError", "CallError", "CallError", "AttributeError"]
