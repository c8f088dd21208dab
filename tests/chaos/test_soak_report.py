"""The page of the soak: what grows is named, the state folder may have teeth, the journal has a bound."""

from collections.abc import Callable

from tests.chaos.soak_report import RATE, Soaked, panels, text_of
from tests.chaos.soak_samples import JOURNAL, JOURNAL_LIMIT, MEASURES

TIMES = [2.0 * number for number in range(1, 301)]


def soaked(**series: Callable[[float], float]) -> Soaked:
    """A soak whose series are all flat but for these; `_` stands for a space."""
    values = {name: [50.0] * len(TIMES) for name in (*MEASURES, RATE)} | {JOURNAL: [8.0] * len(TIMES)}
    for name, value in series.items():
        values[name.replace("_", " ")] = [value(time) for time in TIMES]
    kills, visitors = {"parent": 3, "child": 4}, {"all": 12, "killed": 2}
    return Soaked(TIMES, values, {"short": 54321, "large": 600}, kills, visitors, keep_s=15)


def row(page: str, name: str) -> list[str]:
    """The cells of a row."""
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_all_is_flat() -> None:
    page = text_of(soaked())
    assert soaked().flat
    assert "grows" not in page.replace("The journal grows by design", "")
    assert row(page, "control plane: memory") == [
        "control plane: memory",
        "50.0 MB",
        "50.0 MB",
        "0.0 MB",
        "3.0 MB",
        "flat",
    ]
    assert row(page, "workers: processes")[1:] == ["50", "50", "0", "2.5", "flat"]
    assert row(page, "all") == ["all", "54,921 (50 a second)"]
    assert "killed by SIGKILL 7 times (its child 4, its parent 3)" in page
    assert max(map(len, page.splitlines())) <= 120


def test_what_grows_is_named() -> None:
    found = soaked(**{"client: memory": lambda time: 50 + time / 60})
    assert not found.flat
    assert row(text_of(found), "client: memory")[-1] == "**grows**"


def test_the_teeth_of_the_state_folder_are_flat() -> None:
    assert soaked(state_folder=lambda time: 100 + 3 * (time % 60)).flat
    assert not soaked(state_folder=lambda time: 100 + 3 * (time % 60) + time / 10).flat


def test_the_journal_has_a_bound() -> None:
    teeth = {JOURNAL: lambda time: JOURNAL_LIMIT / 2 + time % 300 / 60}
    assert soaked(**teeth).flat
    too_large = soaked(**{JOURNAL: lambda time: time / 30})
    assert not too_large.flat
    assert row(text_of(too_large), JOURNAL)[-1] == "**too large**"


def test_the_picture_shows_all_series_but_the_journal() -> None:
    titles = list(panels(soaked()))
    assert len(titles) == len(MEASURES) + 1
    assert titles[0] == "control plane: memory, MB"
    assert titles[-1] == RATE
