"""A peer's program answers what it is asked, tells what went wrong, and is ended; nothing is left."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks import processes
from benchmarks.driver import Driver, DriverFailed
from benchmarks.measures import Figure
from benchmarks.registry import ROWS
from benchmarks.scene import PEERS, Scene
from benchmarks.sizes import SMALL

PEER = f"""
    import asyncio, os, subprocess, sys
    sys.path.insert(0, {str(PEERS)!r})
    from serving import memory_begins, memory_peak, serve
    class Peer:
        async def twice(self, x): return 2 * x
        async def wrong(self): raise ValueError("it is wrong")
        async def end(self): print("last words", file=sys.stderr, flush=True); os._exit(3)
        async def hang(self): await asyncio.Event().wait()
        async def leave(self):
            return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]]).pid
        async def added(self, size):
            before = memory_begins()
            data = b"x" * size; del data
            return memory_peak() - before
    asyncio.run(serve(Peer()))
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    program = tmp_path / "peer.py"
    program.write_text(textwrap.dedent(PEER))
    driver = Driver([sys.executable, str(program), str(tmp_path)], tmp_path, {}, tmp_path / "log")
    try:
        driver.started()
        yield driver
    finally:
        driver.stop()


def test_it_answers(driver: Driver) -> None:
    assert driver.ask("twice", x=21) == 42
    assert driver.ask("twice", x="ab") == "abab"


def test_what_went_wrong_is_told_and_it_goes_on(driver: Driver) -> None:
    with pytest.raises(DriverFailed, match=r"peer\.py .*: ValueError: it is wrong"):
        driver.ask("wrong")
    assert driver.ask("twice", x=1) == 2


def test_the_last_words_of_one_that_ended(driver: Driver) -> None:
    with pytest.raises(DriverFailed, match="has ended: last words"):
        driver.ask("end")


def test_one_that_does_not_answer_is_given_up(driver: Driver) -> None:
    with pytest.raises(DriverFailed, match="has not answered within 0 s"):
        driver.ask("hang", timeout_s=0.1)
    driver.stop(patience_s=0.1)
    assert not psutil.pid_exists(driver.pid)


def test_memory_counts_at_its_highest(driver: Driver) -> None:
    assert driver.ask("added", size=50_000_000) >= 49


def test_what_is_left_of_a_folder_is_ended(driver: Driver, tmp_path: Path) -> None:
    left = driver.ask("leave")
    assert left in {process.pid for process in processes.belonging(str(tmp_path))}
    driver.stop()
    assert any("time.sleep" in shown for shown in processes.end_all(str(tmp_path)))
    assert processes.belonging(str(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["queued", "draining", "endpoints", "workers"])
def test_rows_that_need_no_peer_give_their_figures(name: str) -> None:
    scene = Scene(SMALL)
    with scene:
        figures = list(ROWS[name](scene))
    assert figures
    assert all(isinstance(figure, Figure) and figure.goal and figure.ratios for figure in figures)
    assert scene.left == []
    assert not scene.folder.exists()
