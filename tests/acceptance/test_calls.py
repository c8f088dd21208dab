"""Each form of calling, from each place where Python code lives."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.place import Place
from tests.support.waiting import wait_until

DEFINE = """
import asyncio, os, time
from runpod_flash import Endpoint
@Endpoint(name="calls", cpu="cpu3c-1-2", workers=(0, 2), idle_timeout=120)
async def add(a, b=1): return a + b
"""


@pytest.mark.slow
def test_three_hundred_gathered_calls_on_two_workers(shared_place: Place) -> None:
    script = """
import asyncio, os, time
from runpod_flash import Endpoint
@Endpoint(name="many", cpu="cpu3c-1-2", workers=(0, 2))
def where(i):
    time.sleep(0.01)
    return i, os.environ["RUNPOD_POD_ID"]
async def main():
    results = await asyncio.gather(*[where(i) for i in range(300)])
    assert [i for i, _ in results] == list(range(300))
    print(len({worker for _, worker in results}))
asyncio.run(main())
"""
    assert shared_place.run_script(script).good().stdout.strip() == "2"


def test_several_event_loops_in_one_script(shared_place: Place) -> None:
    script = (
        DEFINE
        + """
for i in range(3):
    assert asyncio.run(add(i)) == i + 1
loop = asyncio.new_event_loop()
assert loop.run_until_complete(add(5)) == 6
loop.close()
print("good")
"""
    )
    done = shared_place.run_script(script, env={"PYTHONWARNINGS": "error", "PYTHONASYNCIODEBUG": "1"})
    assert done.good().stdout.strip() == "good"
    assert "Warning" not in done.stderr


def test_blocking_spawned_and_local_calls(shared_place: Place) -> None:
    script = (
        DEFINE
        + """
assert add.remote(1, b=2) == 3
job = add.spawn(40, 2)
assert job.id and job.result() == 42 and job.done
async def inside():
    job = await add.spawn.aio(2)
    assert await job.result() == 3
    assert add.remote(9) == 10                       # blocking, inside a running loop
    assert add.spawn(6).result.blocking() == 7
asyncio.run(inside())
assert asyncio.run(add.local(1)) == 2
import threading
results = []
threads = [threading.Thread(target=lambda: results.append(add.remote(1))) for _ in range(5)]
[t.start() for t in threads]; [t.join() for t in threads]
assert results == [2] * 5
print("good")
"""
    )
    assert shared_place.run_script(script).good().stdout.strip() == "good"


def test_a_spawned_job_outlives_the_program_that_spawned_it(shared_place: Place) -> None:
    path = shared_place.project / "mark"
    script = f"""
from runpod_flash import Endpoint
@Endpoint(name="outlives", cpu="cpu3c-1-2")
def mark(path):
    import time
    time.sleep(0.5)
    open(path, "w").write("done")
print(mark.spawn({str(path)!r}).id)
"""
    shared_place.run_script(script).good()
    wait_until(path.exists, 30, "the spawned job")


def test_python_dash_c(shared_place: Place) -> None:
    done = shared_place.run(["-c", DEFINE + "\nprint(asyncio.run(add(1)), add.remote(2))"])
    assert done.good().stdout.strip() == "2 3"


def test_a_piped_interactive_session(shared_place: Place) -> None:
    session = """
import asyncio
from runpod_flash import Endpoint
N = 5
@Endpoint(name="repl", cpu="cpu3c-1-2")
def f(x):
    return x + N

print("first", f.remote(1))
N = 50
print("second", f.remote(1))
print("third", asyncio.run(f(2)))
"""
    own = {"HOME": str(shared_place.home)}  # where an interactive Python leaves its history
    done = shared_place.run(["-i", "-q"], env=own, stdin=session)
    said = [line for line in done.good().stdout.splitlines() if line.startswith(("first", "second", "third"))]
    assert said == [
        "first 6", "second 51", "third 52",
    ]  # fmt: skip


def test_a_notebook(shared_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [
        "from runpod_flash import Endpoint\nBASE = 1",
        "@Endpoint(name='notebook', cpu='cpu3c-1-2')\ndef f(x):\n    print('inside', x)\n    return x + BASE",
        "r1 = await f(1)\nr2 = f.remote(2)\nr3 = f.spawn(3)\nr3 = await r3.result()\nprint(r1, r2, r3)",
        "@Endpoint(name='notebook', cpu='cpu3c-1-2', workers=2)\ndef f(x):\n    return -x",  # edited, run again
        "import asyncio\nprint(await asyncio.gather(*[f(i) for i in range(5)]))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    for name, value in shared_place.env().items():
        monkeypatch.setenv(name, value)
    client = NotebookClient(
        notebook, timeout=90, kernel_name="python3", resources={"metadata": {"path": shared_place.project}}
    )
    client.execute()
    printed = [
        "".join(out.get("text", "") for out in cell.outputs if out.get("name") == "stdout") for cell in notebook.cells
    ]
    said = printed[2].splitlines()  # a notebook orders the lines of several threads as it likes
    assert "2 3 4" in said
    assert {"[notebook] inside 1", "[notebook] inside 2"} <= set(said)
    assert printed[4].strip() == "[0, -1, -2, -3, -4]"


def test_output_appears_as_it_happens_and_before_the_result(shared_place: Place) -> None:
    script = """
import asyncio, logging, os, subprocess, sys
from runpod_flash import Endpoint
@Endpoint(name="loud", cpu="cpu3c-1-2")
def loud():
    print("from print")
    print("to stderr", file=sys.stderr)
    logging.getLogger("mine").info("from logging")
    subprocess.run(["echo", "from a subprocess"])
    os.write(1, b"from C\\n")
    return "result"
print(asyncio.run(loud()))
"""
    done = shared_place.run_script(script).good()
    assert done.stdout.splitlines() == ["from print", "from a subprocess", "from C", "result"]
    assert "[loud] to stderr" in done.stderr
    assert "from logging" in done.stderr
    marked = shared_place.run_script(script, env={"FLASH_LOGS": "marked"}).good()
    assert marked.stdout.splitlines()[0] == "[loud] from print"
