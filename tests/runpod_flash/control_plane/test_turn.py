"""The end of a turn of the loop."""

import asyncio

from runpod_flash.control_plane.turn import Step, Turn


def test_steps_follow_each_other_in_one_callback_whatever_was_asked_for_first() -> None:
    async def main() -> None:
        turn, done = Turn(), list[str]()
        turn.at_end(Step.CLIENTS, lambda: done.append("clients"))
        turn.at_end(Step.WORKERS, lambda: done.append("workers"))
        turn.at_end(Step.COMMIT, lambda: turn.at_end(Step.WORKERS, lambda: done.append("what the commit allows")))
        assert done == []
        await asyncio.sleep(0)
        assert done == ["workers", "what the commit allows", "clients"]

    asyncio.run(main())


def test_what_comes_for_an_earlier_step_waits_for_the_next_turn() -> None:
    async def main() -> None:
        turn, done = Turn(), list[str]()
        turn.at_end(Step.CLIENTS, lambda: turn.at_end(Step.COMMIT, lambda: done.append("late")))
        await asyncio.sleep(0)
        assert done == []
        await asyncio.sleep(0)
        assert done == ["late"]

    asyncio.run(main())


def test_a_fault_takes_nobody_along() -> None:
    async def main() -> None:
        turn, done = Turn(), list[str]()
        turn.at_end(Step.COMMIT, lambda: done.append(str(1 / 0)))
        turn.at_end(Step.COMMIT, lambda: done.append("next"))
        turn.at_end(Step.CLIENTS, lambda: done.append("last"))
        await asyncio.sleep(0)
        assert done == ["next", "last"]

    asyncio.run(main())


def test_it_serves_one_loop_after_the_other() -> None:
    turn, done = Turn(), list[int]()

    async def use(number: int) -> None:
        turn.at_end(Step.COMMIT, lambda: done.append(number))
        await asyncio.sleep(0)

    for number in (1, 2):
        asyncio.run(use(number))
    assert done == [1, 2]
