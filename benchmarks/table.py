"""The results as a table in Markdown, and into a page between two marks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.document import Document
from benchmarks.measures import number

BEGIN, END = "<!-- table: make bench writes it -->", "<!-- end of table -->"
HEAD = ["| measure | ours | peer, same turns | ratio | goal | |", "|---|---|---|---|---|---|"]


class NoMarks(Exception):
    """A page has no place for the table."""


def text_of(document: Document) -> str:
    """Facts, table, notes."""
    return "\n".join([*_facts(document), "", *table(document), "", *_notes(document)]).rstrip() + "\n"


def table(document: Document) -> list[str]:
    """A line for each figure, and for each row without."""
    return [*HEAD, *(line for row in document["rows"] for line in _lines(row))]


def _facts(document: Document) -> list[str]:
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    commits = sorted({row["commit"] for row in document["rows"]})
    return [
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}; {document['date']}, commit {', '.join(commits)}.",
        f"{versions}.",
        "Median of the turns, least and most in brackets. A goal is for the ratio, where there is none for the figure.",
    ]


def _lines(row: dict[str, Any]) -> Iterator[str]:
    for figure in row["figures"]:
        yield "| " + " | ".join(cells(figure)) + " |"
    for reason, words in (("failed", "failed"), ("not_measured", "not measured")):
        if reason in row:
            yield f"| {row['row']} | {words}: {_one_line(row[reason])} | | | | |"


def cells(figure: dict[str, Any]) -> list[str]:
    """What the columns say of a figure."""
    unit = figure["unit"]
    peer = f"{_spread(figure['theirs'], unit)} ({figure['peer']})" if "peer" in figure else ""
    ratio = f"**{number(figure['ratio']['median'])}** {_ends(figure['ratio'])}" if "peer" in figure else ""
    ours = _spread(figure["ours"], unit)
    verdict = {True: "met", False: "**not met**", None: ""}[figure.get("met")]
    return [figure["what"], ours, peer, ratio.rstrip(), figure.get("goal", ""), verdict]


def _spread(summary: dict[str, Any], unit: str) -> str:
    return " ".join(filter(None, (number(summary["median"]), unit, _ends(summary))))


def _ends(summary: dict[str, Any]) -> str:
    return f"[{number(summary['min'])}–{number(summary['max'])}]" if len(summary["turns"]) > 1 else ""


def _notes(document: Document) -> list[str]:
    noted = [
        (figure["what"], figure["note"]) for row in document["rows"] for figure in row["figures"] if "note" in figure
    ]
    return ["Notes:", "", *(f"- {what}: {note}." for what, note in noted)] if noted else []


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:300]


def put_into(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page.

    Raises:
        NoMarks: it has none.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarks(f"{page.name} must have the lines {BEGIN} and {END}; the table comes between them")
    page.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}")
