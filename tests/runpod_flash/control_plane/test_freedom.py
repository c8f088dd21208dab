"""The freest worker is found as if all were looked at, and without doing so."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.freedom import Freedom


@dataclass(eq=False)
class Worker:
    started_at: float
    current: int | None = 0
    looks: int = 0

    @property
    def load(self) -> int | None:
        self.looks += 1
        return self.current


STEPS = st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.integers(-3, 6))), max_size=60)


@given(STEPS, st.integers(0, 4))
def test_it_is_the_one_with_the_least_load_and_of_those_the_oldest(
    steps: list[tuple[int, int | None]], refused: int
) -> None:
    workers, freedom = [Worker(float(number)) for number in range(5)], Freedom[Worker]()
    for worker in workers:
        freedom.changed(worker)
    for number, load in steps:
        workers[number].current = load
        freedom.changed(workers[number])
        able = [worker for worker in workers if worker.current is not None]
        expected = min(able, key=lambda worker: (worker.current, worker.started_at), default=None)
        assert freedom.freest() is expected
        fitting = [worker for worker in able if worker is not workers[refused]]
        expected = min(fitting, key=lambda worker: (worker.current, worker.started_at), default=None)
        assert freedom.freest(lambda worker: worker is not workers[refused]) is expected


def test_with_many_workers_few_are_looked_at() -> None:
    workers, freedom = [Worker(float(number)) for number in range(1000)], Freedom[Worker]()
    for worker in workers:
        freedom.changed(worker)
        worker.looks = 0
    for step in range(3000):
        worker = freedom.freest()
        assert worker is not None
        worker.current = (worker.current or 0) + 1
        freedom.changed(worker)
        if step % 3 == 0:
            workers[step % 1000].current = 0
            freedom.changed(workers[step % 1000])
    assert sum(worker.looks for worker in workers) < 4 * 3000 * 2
    assert len(freedom._heap) < 3000
