"""Lines by endpoint: what is kept, and who is told."""

import asyncio

from runpod_flash.control_plane.endpoint_logs import LINES, EndpointLogs, Follower
from runpod_flash.control_plane.records import EndpointLine


def texts(lines: "list[EndpointLine]") -> list[str]:
    return [line["line"] for line in lines]


async def taken(follower: Follower) -> list[str]:
    """All lines until nothing comes any more."""
    found = list[str]()
    while lines := await follower.take(0.01):
        found += texts(list(lines))
    return found


def test_lines_of_no_certain_job_are_kept_and_bounded() -> None:
    logs = EndpointLogs()
    logs.add("e", "w", {"j": 1}, "stdout", ["of one job"])
    logs.add("e", "w", {"j": 1, "k": 2}, "stdout", ["of one of two"])
    logs.add("e", "w", {}, "stderr", ["of none"])
    assert texts(logs.of("e")) == ["of one of two", "of none"]
    assert [(line["job"], line["attempt"], line["worker"]) for line in logs.of("e")] == [(None, 0, "w")] * 2
    logs.add("e", "w", {}, "stderr", [str(number) for number in range(LINES + 5)])
    assert texts(logs.of("e"))[0] == "5"
    assert logs.of("other") == []
    logs.forget("e")
    assert logs.of("e") == []


def test_each_line_has_a_later_time() -> None:
    written = EndpointLogs().add("e", "w", {"j": 3}, "stdout", ["x"] * 1000)
    times = [line["time"] for line in written]
    assert times == sorted(set(times))
    assert (written[0]["job"], written[0]["attempt"]) == ("j", 3)


def test_followers_get_what_comes_while_they_are_there() -> None:
    async def play() -> None:
        logs = EndpointLogs()
        logs.add("e", "w", {}, "stdout", ["before"])
        with logs.follow("e") as everything, logs.follow("e", "j") as one:
            logs.add("e", "w", {"j": 1}, "stdout", ["a"])
            logs.add("e", "w", {"k": 1}, "stdout", ["b"])
            logs.add("e", "w", {"j": 1, "k": 1}, "stdout", ["c"])
            logs.add("other", "w", {}, "stdout", ["d"])
            assert await taken(everything) == ["a", "b", "c"]
            assert await taken(one) == ["a", "c"]
            logs.add("e", "w", {"j": 1}, "stdout", ["last"])
            logs.job_ended("e", "j")
            assert texts(list(await one.take(1) or ())) == ["last"]
            assert await one.take(1) is None
            logs.close()
            assert await taken(everything) == ["last"]
            assert await everything.take(1) is None
        with logs.follow("e") as late:
            assert await late.take(1) is None

    asyncio.run(play())


def test_a_burst_of_many_writers_arrives_whole_and_a_reader_that_sleeps_is_told_what_it_lost() -> None:
    async def play() -> None:
        logs = EndpointLogs(follower_characters=250)
        with logs.follow("e") as follower:
            logs.add("e", "w", {}, "stdout", ["x" * 100] * 5)
            lines = texts(list(await follower.take(1) or ()))
            assert lines == ["x" * 100] * 3 + ["2 lines were left out here: they were not read in time"]
            logs.add("e", "w", {}, "stdout", ["again"])
            assert await taken(follower) == ["again"]
        patient, expected = EndpointLogs(), set[str]()
        with patient.follow("e") as follower:

            async def write(worker: int) -> None:
                for batch in range(50):
                    lines = [f"{worker}/{batch}/{number}" for number in range(100)]
                    expected.update(lines)
                    patient.add("e", f"w-{worker}", {f"j{worker}": 1}, "stdout", lines)
                    await asyncio.sleep(0)

            reading = asyncio.create_task(taken(follower))
            await asyncio.gather(*(write(worker) for worker in range(8)))
            found = await reading
        assert len(found) == len(expected) == 8 * 50 * 100
        assert set(found) == expected

    asyncio.run(play())
