"""What is true after a chaos test: every call has its value, each job ended once, every start is journaled."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.load import value_of
from tests.support.place import Place


@dataclass(frozen=True)
class Verdict:
    """The figures. `starts` is how often user code has begun, `attempts` how many starts the journal has, `retries` how
    many of these followed one that was taken for lost.
    """

    jobs: int
    starts: int
    attempts: int
    retries: int
    cut_off: int

    def __str__(self) -> str:
        cut_off = f"; {self.cut_off} that may start once were cut off, and are told as that" if self.cut_off else ""
        return f"{self.jobs} jobs, 0 lost, 0 ended twice; {self.starts} starts of {self.attempts} attempts{cut_off}"


def check(place: Place, folder: Path, numbers: Iterable[int], once_every: int = 0) -> Verdict:
    """Compare what the program got, what ran and what the journal says. The control plane must have stopped.

    Every `once_every`th call may start once only, and then be lost; all others must have their values.
    """
    lines = set((folder / "results").read_text().splitlines())  # a program that came back has noted some twice
    results = [json.loads(line) for line in lines]
    assert sorted(number for number, _, _ in results) == sorted(numbers), "a call is lost, or came back twice"
    cut_off = {number for number, _, value in results if value is None}
    assert all(value in (None, [number, value_of(number)]) for number, _, value in results), "a wrong value"
    assert all(once_every and number % once_every == 0 for number in cut_off), "a call that may start again is lost"
    assert len({job for _, job, _ in results}) == len(results), "two calls were one job"
    attempts, retries, statuses, completed = _journal(place)
    assert Counter(statuses.values()) == Counter(COMPLETED=len(results) - len(cut_off), FAILED=len(cut_off))
    assert completed == len(results) - len(cut_off), "the counters have seen another number of ends than there are jobs"
    assert {job for _, job, _ in results} == set(statuses), "the journal has other jobs than the program"
    starts = Counter(int(line) for line in (folder / "starts").read_text().split())
    for number, job, value in results:
        assert starts[number] <= attempts[job], f"call {number}: {starts[number]} starts, {attempts[job]} attempts"
        assert starts[number] >= (value is not None), f"call {number} has a value and never started"
        if once_every and number % once_every == 0:
            # Another attempt may follow one that was written down and certainly never sent to its worker.
            assert starts[number] <= 1, f"call {number} may start once and has started {starts[number]} times"
    return Verdict(len(results), sum(starts.values()), sum(attempts.values()), retries, len(cut_off))


def _journal(place: Place) -> tuple[dict[str, int], int, dict[str, str], int]:
    """Attempts by job, all retries, states by job and the counter of completed jobs, from the database of a stopped
    control plane.
    """
    (path,) = place.home.glob("planes/*/flash.db")
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT id, attempts, status FROM jobs").fetchall()
    (retries,) = connection.execute("SELECT sum(retries) FROM jobs").fetchone()
    (completed,) = connection.execute("SELECT sum(completed) FROM counters").fetchone()
    connection.close()
    return {job: attempts for job, attempts, _ in rows}, retries, {job: status for job, _, status in rows}, completed
