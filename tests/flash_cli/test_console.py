"""What is printed, and where."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

from flash_cli import console
from runpod_flash.errors import ConfigError
from tests.support.place import Place


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7_500, "2 h 5 min"), (86_401, "1 d 1 s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


def test_since_is_never_negative() -> None:
    assert console.since(time.time() + 1_000) == "0 s"


@pytest.mark.parametrize(("name", "text"), [("inQueue", "in queue"), ("idle", "idle"), ("inProgress", "in progress")])
def test_words(name: str, text: str) -> None:
    assert console.words(name) == text


def test_a_stream_that_nobody_reads_is_no_failure(place: Place) -> None:
    program = """
        import sys
        from flash_cli import console
        sys.stdout.write("unread")
        console.let_go()
        sys.exit(7)
    """
    reading, writing = os.pipe()
    os.close(reading)
    script = place.write("program.py", program)
    ended = subprocess.run([sys.executable, str(script)], env=place.env(), stdout=writing, timeout=30, check=False)
    os.close(writing)
    assert ended.returncode == 7


def test_table_aligns_columns(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("A", "LONGER"), [("longest cell", 1), ("b", "c")])
    assert capsys.readouterr().out.splitlines() == ["A             LONGER", "longest cell  1", "b             c"]


def test_table_fits_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    console.table(("NAME", "URL"), [("[b]x[/b]", "http://" + 60 * "a")])
    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[1].startswith("[b]x[/b]")
    assert "".join(line.split()[-1] for line in lines[1:]) == "http://" + 60 * "a"


def test_a_line_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    console.line({"b": "ä\n"})
    assert capsys.readouterr().out == '{"b": "ä\\n"}\n'


def test_data_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    console.data({"b": [1], "a": None})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1]}


def test_failure_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.failure(ValueError("why"), trace=False)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "error: why\n")


def test_failure_with_trace_shows_the_cause(capsys: pytest.CaptureFixture[str]) -> None:
    error = ValueError("why")
    error.__cause__ = KeyError("deeper")
    console.failure(error, trace=True)
    assert "KeyError: 'deeper'" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2_340_000_000, "2.3 GB")])
def test_size(count: int, text: str) -> None:
    assert console.size(count) == text


def test_nobody_is_asked_where_nobody_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.agreed("Sure?", yes=True)
    with pytest.raises(ConfigError, match=r"Sure\? .*There is no terminal to ask at: say --yes to agree"):
        console.agreed("Sure?", yes=False)
    with pytest.raises(ConfigError, match="say --force"):
        console.typed("ALL", "Sure?", yes=False, option="--force")
    console.passing("on its way")
    assert capsys.readouterr().err == ""
