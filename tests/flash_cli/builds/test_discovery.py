"""Files are imported by a process of their own, whatever they do there: real processes."""

import asyncio
import os
import py_compile
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from flash_cli.builds import discovery
from flash_cli.builds.discovery import Discovered, Interpreter
from runpod_flash.errors import ConfigError
from tests.support.builds import QUEUE, write
from tests.support.waiting import wait_until


def discover(root: Path, files: Mapping[str, str], deadline_s: float = 20.0) -> Discovered:
    write(root, files)
    return asyncio.run(discovery.discover(root, sorted(files), deadline_s=deadline_s))


def names(found: Discovered) -> list[str]:
    return [str(each["name"]) for each in found.endpoints]


ODD = {
    "a_exit.py": "import sys\nsys.exit(3)",
    "b_leave.py": "import os\nos._exit(0)",
    "c_raise.py": "def f(): raise ValueError('no')\nf()",
    "d_syntax.py": "def f(:",
    "e_input.py": "input()",
    "f_crash.py": "import ctypes\nctypes.string_at(0)",
    "g_print.py": "import os, sys\nprint('{}')\nos.write(1, b'{}\\n')",
    "h_stdlib.py": "import runpod_flash",
    "json.py": "x = 1",
}


def test_files_that_fail_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    found = discover(tmp_path, {**ODD, "ok.py": QUEUE.format(name="ok"), "z.py": "from ok import ok"})
    assert names(found) == ["ok"]
    faults = {fault.file: fault.message for fault in found.faults}
    assert set(faults) == set(ODD) - {"g_print.py", "h_stdlib.py"}
    assert "sys.exit(3)" in faults["a_exit.py"]
    assert "status 0" in faults["b_leave.py"]
    assert "ValueError: no (c_raise.py line 1)" in faults["c_raise.py"]
    assert "d_syntax.py, line 1" in faults["d_syntax.py"]
    assert "EOFError" in faults["e_input.py"]
    assert "SIGSEGV" in faults["f_crash.py"]
    assert "another module has the name json" in faults["json.py"]


HOSTILE = {
    "a.py": "class Odd(Exception):\n    def __str__(self): return 1 / 0\nraise Odd",
    "b.py": "import os\nos.closerange(3, 65536)",
    "c.py": "import sys\nsys.path.clear()\nimport not_there",
    "d.py": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "e.py": "raise KeyboardInterrupt",
}
PRICKLY = """
    import atexit, os, sys, time
    from runpod_flash import Endpoint
    atexit.register(time.sleep, 600)
    sys.stdout.close()
    sys.stderr.close()
    os.chdir("/")
    sys.path.clear()
    class Lazy:
        @property
        def __class__(self): raise RuntimeError
        def __getattr__(self, name): raise RuntimeError
        def __eq__(self, other): raise RuntimeError
    lazy = Lazy()
    @Endpoint(name="prickly")
    def prickly(): ...
"""


def test_hostile_files_spoil_nothing_but_themselves(tmp_path: Path) -> None:
    found = discover(tmp_path, {**HOSTILE, "f.py": PRICKLY, "ok.py": QUEUE.format(name="ok")})
    assert names(found) == ["ok", "prickly"]
    assert {fault.file for fault in found.faults} == set(HOSTILE)


def test_a_file_that_calls_an_endpoint_is_refused_and_nothing_is_sent(tmp_path: Path) -> None:
    calling = QUEUE.format(name="f") + "    print(f.id)\n    f.remote(1)\n"
    (fault,) = discover(tmp_path, {"a.py": calling}).faults
    assert "calls an endpoint when it is imported" in fault.message
    assert "a.py line 7" in fault.message


def test_edits_within_one_second_are_seen_and_no_bytecode_is_left(tmp_path: Path) -> None:
    text = "import runpod_flash, made\n@runpod_flash.Endpoint(name=made.NAME)\ndef f(): ..."
    for name in ("one", "two"):
        write(tmp_path, {"made.py": f"NAME = '{name}'"})
        os.utime(tmp_path / "made.py", (1e9, 1e9))
        if name == "one":
            py_compile.compile(str(tmp_path / "made.py"))
    assert names(discover(tmp_path, {"a.py": text})) == ["two"]
    assert not list(tmp_path.rglob("a.*.pyc"))


def test_a_module_that_is_not_found_comes_with_what_to_do(tmp_path: Path) -> None:
    files = {"a.py": "import not_there_at_all", "sub/b.py": "import beside.x", "sub/beside/x.py": ""}
    told = {fault.file: fault.message for fault in discover(tmp_path, files).faults}
    assert told["a.py"].endswith("install it on this machine, too, or import it inside the function that needs it")
    assert told["sub/b.py"].endswith("files are imported from the project's folder: write sub.beside")


def test_traces_begin_in_the_users_file(tmp_path: Path) -> None:
    (fault,) = discover(tmp_path, {"a.py": "def f(): raise ValueError('no')\nf()"}).faults
    lines = fault.trace.splitlines()
    assert lines[1].strip() == f'File "{tmp_path / "a.py"}", line 2, in <module>'
    assert "importlib" not in fault.trace


@pytest.mark.slow
def test_a_file_that_hangs_is_named_with_where(tmp_path: Path) -> None:
    hanging = "import time\ndef wait():\n    while True: time.sleep(1)\nwait()"
    found = discover(tmp_path, {"a.py": hanging, "ok.py": QUEUE.format(name="ok")}, deadline_s=3.0)
    assert names(found) == ["ok"]
    (fault,) = found.faults
    assert "after 3 s" in fault.message
    assert "FLASH_IMPORT_S" in fault.message
    assert 'a.py", line 3 in wait' in fault.trace


def test_nothing_that_files_have_started_is_left(tmp_path: Path) -> None:
    starting = """
        import os, subprocess, sys, threading, time
        from pathlib import Path
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path("pids").write_text(f"{child.pid} {os.getpid()}")
        threading.Thread(target=time.sleep, args=(600,)).start()
        os.fork()
    """
    found = discover(tmp_path, {"a.py": starting, "ok.py": QUEUE.format(name="ok")})
    assert (names(found), found.faults) == (["ok"], ())
    for pid in (tmp_path / "pids").read_text().split():
        wait_until(lambda pid=pid: not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == "zombie")


def test_cancelling_ends_the_process(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)"})

    async def cancelled() -> None:
        task = asyncio.ensure_future(discovery.discover(tmp_path, ["a.py"], deadline_s=60))
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_what_counts_as_declared(tmp_path: Path) -> None:
    text = """
        import functools
        from runpod_flash import Endpoint
        def logged(function):
            @functools.wraps(function)
            def inner(*args): return function(*args)
            return inner
        def plain(): ...
        class Holder:
            @staticmethod
            @Endpoint(name="held")
            def held(): ...
        @logged
        @Endpoint(name="wrapped")
        def wrapped(): ...
        @Endpoint(name="klass")
        class Klass: ...
        renamed = Endpoint(name="other")(plain)
        table = {"x": renamed}
        api = Endpoint(name="api")
        api.get("/a")(lambda: 1) if False else api.post("/a")(plain)
        web = Endpoint(name="web")
        @web.asgi
        def app(): ...
        unused, client = Endpoint(name="unused"), Endpoint(id="abc")
        image = Endpoint(name="image", image="a/b:c")
        @Endpoint(name="batched", batch=(4, 10))
        def batched(xs: list[int]): return xs
    """
    found = discover(tmp_path, {"a.py": text, "b.py": "from a import *"})
    assert found.faults == ()
    kinds = {each["name"]: (each["kind"], each["object"]) for each in found.endpoints}
    assert kinds == {
        "held": ("function", "Holder.held"),
        "wrapped": ("function", "wrapped"),
        "klass": ("class", "Klass"),
        "other": ("function", "plain"),
        "api": ("routes", "api"),
        "web": ("routes", "web"),
        "image": ("image", "image"),
        "batched": ("function", "batched"),
    }


def test_an_endpoint_is_where_its_routes_are(tmp_path: Path) -> None:
    text = 'from runpod_flash import Endpoint\napi = Endpoint(name="api")\n@api.get("/a")\ndef a(): return 1\n'
    (found,) = discover(tmp_path, {"aaa.py": "from lb import api", "lb.py": text}).endpoints
    assert (found["file"], found["object"]) == ("lb.py", "api")


def test_routes_of_one_endpoint_may_stand_in_several_files(tmp_path: Path) -> None:
    files = {
        "lb/__init__.py": "",
        "lb/api.py": "from runpod_flash import Endpoint\napi = Endpoint(name='api')",
        "lb/one.py": "from lb.api import api\n@api.get('/one')\ndef one(): ...",
        "lb/two.py": "from lb.api import api  # runpod_flash\n@api.get('/two')\ndef two(): ...",
    }
    (found,) = discover(tmp_path, files).endpoints
    assert [each["path"] for each in found["routes"]] == ["/one", "/two"]
    assert {"lb/one.py", "lb/two.py"} <= set(found["modules"])


ROUTES_F = """
    from runpod_flash import Endpoint
    api = Endpoint(name="f")
    @api.get("/a")
    def a(): ...
"""


@pytest.mark.parametrize(
    ("other", "place"), [(QUEUE.format(name="f"), "f in sub/b.py line 4"), (ROUTES_F, "api in sub/b.py")]
)
def test_two_endpoints_of_one_name_are_refused(tmp_path: Path, other: str, place: str) -> None:
    with pytest.raises(ConfigError, match=f"'f': f in a.py line 4, and {place}"):
        discover(tmp_path, {"a.py": QUEUE.format(name="f"), "sub/b.py": other})


def test_functions_of_one_name_may_be_on_endpoints_of_different_names(tmp_path: Path) -> None:
    text = "from runpod_flash import Endpoint\n@Endpoint(name='{}')\ndef process(): ..."
    assert names(discover(tmp_path, {"a.py": text.format("one"), "b.py": text.format("two")})) == ["one", "two"]


def test_what_is_declared_twice_alike_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    image = "from runpod_flash import Endpoint\nllm = Endpoint(name='llm', image='a/b:c')\n"
    files = {"src/pkg/__init__.py": "", "src/pkg/lb.py": ROUTES_F, "src/pkg/q.py": QUEUE.format(name="g")}
    using = "from runpod_flash import Endpoint\nfrom pkg.lb import api\nfrom pkg.q import g\n"
    found = discover(tmp_path, {**files, "a.py": using, "one.py": image, "two.py": image})
    assert (names(found), found.faults) == (["f", "g", "llm"], ())


def test_names_with_odd_signs_are_refused(tmp_path: Path) -> None:
    text = "from runpod_flash import Endpoint\n@Endpoint(name='ä b')\ndef f(): ..."
    (fault,) = discover(tmp_path, {"a.py": text}).faults
    assert "letters a-z and A-Z" in fault.message


def test_what_no_file_has_under_its_name_is_a_fault(tmp_path: Path) -> None:
    text = """
        from runpod_flash import Endpoint
        def make():
            @Endpoint(name="nested")
            def inner(): ...
            return inner
        inner = make()
        small = Endpoint(name="small")(lambda x: x)
    """
    told = [fault.message for fault in discover(tmp_path, {"a.py": text}).faults]
    assert any("defined inside another function" in text for text in told)
    assert any("lambda" in text for text in told)


def test_an_interpreter_made_before_is_used_up(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": QUEUE.format(name="f")})

    async def used() -> tuple[Discovered, int | None]:
        ready = await Interpreter.start(tmp_path)
        found = await discovery.discover(tmp_path, ["a.py"], deadline_s=20, ready=ready)
        return found, ready._process.returncode

    found, status = asyncio.run(used())
    assert names(found) == ["f"]
    assert status is not None


def test_modules_are_named_from_the_innermost_folder_of_their_search_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    monkeypatch.syspath_prepend(tmp_path / "sub")  # of this process, as `python -m flash_cli` in that folder has it
    files = {"src/pkg/a.py": QUEUE.format(name="f"), "sub/b.py": QUEUE.format(name="g")}
    entries = [each["entry"] for each in discover(tmp_path, {**files, "src/pkg/__init__.py": ""}).endpoints]
    assert entries == ["pkg.a:f", "sub.b:g"]


def test_an_interpreter_that_has_ended_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": QUEUE.format(name="f")})

    async def used() -> Discovered:
        ready = await Interpreter.start(tmp_path)
        await ready.close()
        return await discovery.discover(tmp_path, ["a.py"], deadline_s=20, ready=ready)

    assert names(asyncio.run(used())) == ["f"]
