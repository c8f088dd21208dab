"""The bound on the disk, and the room that is held back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.disk import PLENTY_S, DiskGuard, DiskLevel, DiskUse, Reserve
from runpod_flash.control_plane.store import StoreFull
from tests.support.full_disk import run_on_small_disk

GB = 1024**3
SIZES = st.integers(0, 200 * GB)


@given(SIZES, SIZES, SIZES, SIZES)
def test_less_room_is_never_better(used: int, limit: int, free: int, reserve: int) -> None:
    order = list(DiskLevel)
    use = DiskUse(used, limit, free, reserve)
    worse = (DiskUse(used + GB, limit, free, reserve), DiskUse(used, limit, max(0, free - GB), reserve))
    for other in worse:
        assert order.index(other.level) >= order.index(use.level)
    assert (use.said() == "") == (use.level is DiskLevel.GOOD)
    if limit and used >= limit:
        assert use.level is DiskLevel.FULL
        assert "FLASH_DISK_LIMIT_GB" in use.said()


def test_a_bound_that_is_reached_stops_acceptance_and_says_what_to_do(tmp_path: Path) -> None:
    used = [0]
    guard = DiskGuard(tmp_path, lambda: used[0], limit=10 * GB)
    assert guard.admit() == ""
    assert guard.to_json()["level"] == "good"
    used[0] = 9 * GB
    assert guard.admit() == guard.to_json()["message"]
    assert (guard.to_json()["level"], "9.0 GB of the 10.0 GB" in guard.to_json()["message"]) == ("low", True)
    used[0] = 10 * GB
    with pytest.raises(StoreFull, match=r"nothing new is accepted.*raise the limit"):
        guard.admit()


def test_where_there_is_plenty_jobs_come_without_a_look_each(tmp_path: Path) -> None:
    looks, used, now = list[int](), [0], [0.0]
    guard = DiskGuard(tmp_path, lambda: looks.append(used[0]) or used[0], 10 * GB, lambda: now[0])
    for _ in range(100):
        assert guard.admit_job() == ""
    assert len(looks) == 1
    used[0] = 9 * GB
    assert guard.admit_job() == ""
    now[0] += PLENTY_S
    assert all("9.0 GB" in guard.admit_job() for _ in range(5))
    used[0] = 10 * GB
    with pytest.raises(StoreFull):
        guard.admit_job()


def test_the_warning_is_logged_once_for_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    used = [0]
    guard = DiskGuard(tmp_path, lambda: used[0], limit=10 * GB)
    for size in (0, 9 * GB, 9 * GB, 0, 9 * GB):
        used[0] = size
        guard.watch()
    assert len([record for record in caplog.records if "9.0 GB" in record.message]) == 2


def test_room_is_held_back_given_up_and_taken_again(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve")
    assert not reserve.give()
    reserve.take()
    assert (tmp_path / "reserve").stat().st_size == reserve.size > 0
    assert reserve.give()
    assert not (tmp_path / "reserve").exists()


def test_on_a_full_disk_the_reserve_is_room_for_what_was_accepted(tmp_path: Path) -> None:
    printed = run_on_small_disk(
        """
        from runpod_flash.control_plane.disk import DiskGuard
        from runpod_flash.control_plane.store import StoreFull
        guard = DiskGuard(disk, lambda: 0, 0)
        guard.watch()
        guard.admit()
        fill()
        try:
            guard.admit()
        except StoreFull as error:
            print("free some space" in str(error))
        def room():
            try:
                (disk / "outcome").write_bytes(bytes(100_000))
                return True
            except OSError:
                return False
        print(room(), guard.reserve.give(), room(), guard.reserve.give())
        guard.watch()
        print((disk / "reserve").exists())
        free()
        guard.watch()
        print((disk / "reserve").exists())
        """,
        tmp_path / "disk",
        size="8m",
    )
    assert printed.splitlines() == ["True", "False True True False", "False", "True"]
