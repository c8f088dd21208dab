"""Moments that people write."""

from datetime import UTC, datetime

import pytest

from flash_cli.moments import moment
from runpod_flash.errors import ConfigError

NOW = 1_900_000_000.0


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("10m", 600), ("2h30m", 9_000), ("1d", 86_400), (" 1.5h ", 5_400), ("0s", 0)]
)
def test_spans(text: str, ago: float) -> None:
    assert moment("--since", text, NOW) == NOW - ago


def test_dates() -> None:
    there = datetime(2026, 1, 31, 8, tzinfo=UTC).timestamp()
    assert moment("--since", "2026-01-31T08:00Z", NOW) == there
    assert moment("--since", "2026-01-31T09:00+01:00", NOW) == there
    assert moment("--since", "2026-01-31", NOW) == datetime(2026, 1, 31).astimezone().timestamp()


@pytest.mark.parametrize("text", ["", "10", "m", "10 minutes", "yesterday", "-5m", "2026-13-01", "9999-12-31"])
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--since is .*; it must be a time span such as 90s"):
        moment("--since", text, NOW)
