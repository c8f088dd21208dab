"""Pictures of pairs: what is drawn of a document, and how long the bars are."""

import re

from benchmarks import document as documents
from benchmarks import pairs, registry
from benchmarks.document import Outcome
from benchmarks.measures import Figure, Goal


def drawn(*outcomes: Outcome) -> dict[str, str]:
    facts = {"machine": {}, "versions": {}, "commit": "abc", "date": "today"}
    return pairs.pictures(documents.merged(None, facts, outcomes))


def widths(picture: str) -> list[float]:
    """Of the bars, without the ground."""
    return [float(width) for width in re.findall(r'<rect x="[^"]+" y="[^"]+" width="([\d.]+)"', picture)]


def test_the_rows_of_each_picture_are_there() -> None:
    assert {row for rows in pairs.TOPICS.values() for row in rows} <= set(registry.ROWS)


def test_the_longer_bar_takes_all_the_room_and_the_other_its_share() -> None:
    figure = Figure("a `call`", "ms", (1.0, 2.0, 3.0), "Ray <actor>", (8.0, 8.0, 8.0), Goal(0.5))
    (name, picture), *others = drawn(Outcome("latency", (figure,))).items()
    assert (name, others) == ("bench-calls", [])
    assert widths(picture) == [pairs.BARS / 4, pairs.BARS]
    assert "less is better" in picture
    assert ">8 ms Ray &lt;actor&gt;<" in picture


def test_what_has_nobody_beside_it_or_is_a_share_is_not_drawn() -> None:
    alone = Figure("alone", "ms", (1.0,))
    share = Figure("share", "", (0.9,), "Ray", (0.8,), Goal(1.0, True))
    assert drawn(Outcome("script", (alone, share)), Outcome("idle", (Figure("x", "MB", (1.0,), "Ray", (2.0,)),))) == {}


def test_where_more_is_better_that_is_said() -> None:
    figure = Figure("flow", "calls/s", (10.0,), "Ray", (5.0,), Goal(1.0, True))
    assert "more is better" in drawn(Outcome("gathered", (figure,)))["bench-calls"]
