"""Every row is an outcome, also one that fails, and the others go on; what was measured is kept at once."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import document as documents
from benchmarks import registry, table
from benchmarks.measures import Figure, Goal
from benchmarks.scene import NotMeasured, Scene


def good(scene: Scene) -> Iterator[Figure]:
    yield Figure(f"{scene.sizes.turns} turns", "ms", (1.0, 2.0), goal=Goal(5.0))


def bad(scene: Scene) -> Iterator[Figure]:
    yield Figure("before", "ms", (1.0,))
    raise KeyError(str(scene.folder))


def impossible(scene: Scene) -> Iterator[Figure]:
    raise NotMeasured("there is no peer here")
    yield


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ROWS", {"bad": bad, "impossible": impossible, "good": good})


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    return program.main()


@pytest.mark.usefixtures("rows")
def test_a_row_that_fails_says_why_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--small", "--out", str(tmp_path)) == 1
    kept = {row["row"]: row for row in json.loads((tmp_path / "bench.json").read_text())["rows"]}
    assert kept["bad"]["failed"].startswith("KeyError: ")
    assert "/" not in kept["bad"]["failed"]
    assert [figure["what"] for figure in kept["bad"]["figures"]] == ["before"]
    assert kept["impossible"]["not_measured"] == "there is no peer here"
    assert kept["good"]["figures"][0]["met"] is True
    assert "| 2 turns | 1.5 ms [1–2] |  |  | ≤ 5 | met |" in capsys.readouterr().out
    assert (tmp_path / "bench.md").exists()
    assert (tmp_path / "bench.svg").exists()


@pytest.mark.usefixtures("rows")
def test_some_rows_leave_the_others_as_they_were(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, "--small", "--out", str(tmp_path))
    assert run(monkeypatch, "--small", "--out", str(tmp_path), "--rows", "good") == 0
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert [row["row"] for row in kept["rows"]] == ["bad", "impossible", "good"]


@pytest.mark.usefixtures("rows")
def test_what_cannot_be_meant_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--rows", "goods") == 2
    assert "'goods' is no row; there are bad, impossible, good" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "--small")
    assert "--out" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "--table", "--rows", "good")
    assert "leave out --rows" in capsys.readouterr().err


@pytest.mark.usefixtures("rows")
def test_the_table_comes_anew_from_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--table", "--out", str(tmp_path)) == 2
    assert "bench.json is not there; run `make bench`" in capsys.readouterr().err
    run(monkeypatch, "--small", "--out", str(tmp_path))
    before, measured = (tmp_path / "bench.md").read_text(), (tmp_path / "bench.json").read_bytes()
    (tmp_path / "bench.md").unlink()
    assert run(monkeypatch, "--table", "--out", str(tmp_path)) == 0
    assert (tmp_path / "bench.md").read_text() == before
    assert (tmp_path / "bench.json").read_bytes() == measured


def test_the_page_shows_the_pictures_that_were_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{table.BEGIN}\n{table.END}\n")
    monkeypatch.setattr(program, "PAGE", page)
    results, document = tmp_path / "results", documents.read(program.OUT / "bench.json")
    assert document is not None
    shutil.copytree(program.OUT, results)
    monkeypatch.setattr(program, "OUT", results)
    program._show(document, results)
    shown = re.findall(r"results/([\w-]+)\.svg", page.read_text())
    assert shown[:2] == ["bench", "bench-calls"]
    assert all((results / f"{name}.svg").exists() for name in shown)
