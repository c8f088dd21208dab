"""Results of a part of the rows take the place of older ones; a page shows all of them and nothing of the machine."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import drawing, earlier, table
from benchmarks.document import Outcome, in_order, merged, read, without_places, write
from benchmarks.measures import Figure, Goal
from benchmarks.registry import ROWS, NoSuchRow, chosen

MACHINE = {"cores": 2, "memory_gb": 24, "processor": "x86_64", "system": "Linux 6", "python": "3.11.7"}
FACTS = {"commit": "a1", "date": "monday", "machine": MACHINE, "versions": {"ray": "2.60.0"}}
CALL = Outcome("latency", (Figure("a call", "ms", (0.3, 0.4), "Ray", (0.6, 0.8), Goal(0.5)),))


def test_a_part_of_the_rows_leaves_the_others() -> None:
    first = merged(None, FACTS, [CALL, Outcome("idle", failed="no memory")])
    later = {**FACTS, "commit": "b2", "date": "tuesday"}
    both = merged(first, later, [Outcome("idle", (Figure("idle", "%", (0.1,)),))])
    assert {row["row"]: row["commit"] for row in both["rows"]} == {"latency": "a1", "idle": "b2"}
    assert all("failed" not in row for row in both["rows"])
    assert [row["row"] for row in in_order(both, ["idle", "script", "latency"])["rows"]] == ["idle", "latency"]


def test_another_machine_begins_anew() -> None:
    first = merged(None, FACTS, [CALL])
    other = {**FACTS, "machine": {**MACHINE, "cores": 64}}
    assert [row["row"] for row in merged(first, other, [Outcome("idle")])["rows"]] == ["idle"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    document = merged(None, FACTS, [CALL])
    path = tmp_path / "below" / "bench.json"
    assert read(path) is None
    write(path, document)
    assert read(path) == document
    path.write_text("[1")
    assert read(path) is None


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('File "/home/me/x-1/lib/pip.py", line 3', 'File "pip.py", line 3'),
        ("Node 192.168.7.1 failed", "Node ADDRESS failed"),
        ("POST /v2/{id}/runsync took 3/4 of it", "POST /v2/{id}/runsync took 3/4 of it"),
    ],
)
def test_nothing_of_the_machine_is_told(said: str, kept: str) -> None:
    assert without_places(said) == kept
    assert Outcome("latency", failed=said).document()["failed"] == kept


def test_the_table_has_a_line_for_each_figure_and_each_row_without() -> None:
    document = merged(None, FACTS, [CALL, Outcome("idle", failed="a | b"), Outcome("torch", not_measured="no build")])
    assert table.table(document)[2:] == [
        "| a call | 0.35 ms [0.3–0.4] | 0.7 ms [0.6–0.8] (Ray) | **0.5** [0.5–0.5] | ≤ 0.5 | met |",
        "| idle | failed: a / b | | | | |",
        "| torch | not measured: no build | | | | |",
    ]
    assert "2 cores (x86_64), 24 GB, Linux 6, Python 3.11.7; monday, commit a1." in table.text_of(document)


def test_the_table_comes_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    for text in ("first", "second"):
        table.put_into(page, text)
        assert page.read_text() == f"before\n{table.BEGIN}\n\n{text}\n\n{table.END}\nafter\n"
    page.write_text(table.BEGIN)
    with pytest.raises(table.NoMarks, match=r"page\.md"):
        table.put_into(page, "text")


def test_pictures_are_drawn_of_what_has_a_goal() -> None:
    sizes = tuple(
        Figure(f"array of {size} MB there and back", "ms", (size * 0.5,), "Ray", (size * 1.0,), Goal(1.0))
        for size in (1, 10, 100)
    )
    far = Figure("x < y & z", "s", (0.0, 1e9), goal=Goal(1.0, at_least=True))
    drawn = drawing.pictures(merged(None, FACTS, [CALL, Outcome("arrays", sizes), Outcome("far", (far,))]))
    assert set(drawn) == {"bench", "bench-arrays"}
    dots = [ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}circle") for picture in drawn.values()]
    assert [len(list(each)) for each in dots] == [3 + 3 * 2 + 3, 3 * 2]  # a dot for each turn, and what is judged
    assert drawing.pictures(merged(None, FACTS, [Outcome("idle", failed="no")])) == {}


def test_rows_are_chosen_by_name() -> None:
    assert list(chosen([""])) == list(ROWS)
    assert list(chosen(["arrays", "latency", "arrays"])) == ["latency", "arrays"]
    with pytest.raises(NoSuchRow, match="'latencies' is no row; there are latency, "):
        chosen(["latencies"])


def test_what_was_measured_before_stands_beside_it() -> None:
    then = {
        "commit": "0a",
        "figures": [
            {"what": "a call", "unit": "ms", "value": 0.7},
            {"what": "a call", "unit": "s", "value": 1},
            {"what": "gone", "unit": "ms", "value": 1},
        ],
    }
    assert earlier.lines(then, merged(None, FACTS, [CALL]))[-1:] == ["| a call | 0.7 ms | 0.35 ms | 0.5 |"]
    assert earlier.lines(then, merged(None, FACTS, [Outcome("idle")])) == []


def test_the_earlier_figures_are_of_rows_that_there_are() -> None:
    kept = earlier.read(Path(__file__).parents[2] / "benchmarks" / "results" / "earlier.json")
    rows = "".join(path.read_text() for path in (Path(earlier.__file__).parent / "rows").glob("*.py"))
    for figure in kept["figures"]:
        name = re.sub(r"^300 |, p50$", "", figure["what"])
        assert name in rows, f"no row says {figure['what']!r}"
