"""Which files count: git's rules, at every level, and .flashignore above them."""

import subprocess
from pathlib import Path

import pytest

from flash_cli.builds import project_files
from tests.support.builds import write


def kept(root: Path) -> set[str]:
    return set(project_files.listing(root).files)


GITIGNORES = {
    ".gitignore": "*.bin\n/top.txt\nlogs/\n!keep.bin\n# a comment\n\nspace\\ d\ndeep/**/x.txt\n",
    "sub/.gitignore": "*.csv\n!a.bin\n",
    "a.bin": "", "keep.bin": "", "top.txt": "", "sub/top.txt": "", "sub/a.bin": "", "sub/b.bin": "", "sub/a.csv": "",
    "a.csv": "", "logs/l.txt": "", "sub/logs/l.txt": "", "space d": "", "deep/e/f/x.txt": "", "deep/x.txt": "",
    "other/x.txt": "",
}  # fmt: skip


def test_git_and_this_agree(tmp_path: Path) -> None:
    root = write(tmp_path, GITIGNORES)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    said = subprocess.run(
        ["git", "-C", str(root), "-c", "core.excludesFile=", "ls-files", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert kept(root) == set(said.stdout.split("\n")) - {"", ".gitignore", "sub/.gitignore"}


def test_gitignore_files_above_the_project_hold_within_their_repository(tmp_path: Path) -> None:
    write(tmp_path, {"repo/.gitignore": "*.bin\n/app/only.txt\n", ".gitignore": "*.txt\n"})
    write(tmp_path / "repo" / "app", {"a.bin": "", "only.txt": "", "a.txt": ""})
    (tmp_path / "repo" / ".git").mkdir()
    assert kept(tmp_path / "repo" / "app") == {"a.txt"}


def test_flashignore_wins_at_every_level(tmp_path: Path) -> None:
    files = {
        ".gitignore": "generated/\n*.log\n", ".flashignore": "!generated/\nbig/\n", "sub/.gitignore": "!x.dat\n",
        "sub/.flashignore": "*.dat\n", "generated/g.json": "", "big/b": "", "sub/x.dat": "", "x.dat": "", "a.log": "",
    }  # fmt: skip
    assert kept(write(tmp_path, files)) == {"generated/g.json", "x.dat"}


@pytest.mark.parametrize("name", ["tests/data.json", "docs/a.md", "build/a.json", ".env.production", "keys/a.pem"])
def test_what_is_left_out_by_default_can_be_taken_back_in(tmp_path: Path, name: str) -> None:
    root = write(tmp_path, {name: "", "a.txt": ""})
    assert kept(root) == {"a.txt"}
    folder, _, file = name.rpartition("/")
    write(root, {".flashignore": f"!{folder}/\n!{file}\n" if folder else f"!{file}\n"})
    assert kept(root) == {"a.txt", name}


def test_a_list_of_what_stays_takes_back_nothing_that_is_left_out_by_default(tmp_path: Path) -> None:
    files = {
        ".flashignore": "*\n!*/\n!*.json\n!*.txt\n", "a.json": "", "sub/b.txt": "", "a.bin": "", "credentials.json": "",
        "node_modules/x.json": "", "tests/c.txt": "", ".flash/d.json": "", "dist/e.json": "",
    }  # fmt: skip
    root = write(tmp_path, files)
    (root / ".git").mkdir()
    (root / ".git" / "x.json").touch()
    assert kept(root) == {"a.json", "sub/b.txt"}
    write(root, {".flashignore": f"{files['.flashignore']}!credentials*.json\n!dist/\n!.git/\n!.flash\n"})
    assert kept(root) == {"a.json", "sub/b.txt", "credentials.json", "dist/e.json"}


def test_what_is_in_a_folder_may_come_back_where_the_folder_stays(tmp_path: Path) -> None:
    files = {".gitignore": "data/**\n!data/keep.txt\nlogs/*\n!logs/keep/\n", "data/a.txt": "", "data/keep.txt": ""}
    logs = {"logs/a.txt": "", "logs/keep/b.txt": "", "logs/keep/c/d.txt": ""}
    assert kept(write(tmp_path, files | logs)) == {"data/keep.txt", "logs/keep/b.txt", "logs/keep/c/d.txt"}


def test_texts_are_data(tmp_path: Path) -> None:
    assert kept(write(tmp_path, {"prompts/a.md": "", "README.md": "", "sub/README.md": ""})) == {
        "prompts/a.md",
        "sub/README.md",
    }


def test_the_rule_that_decides_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, {"sub/.gitignore": "# first\n*.csv\n", "sub/a.csv": "", "b.pyc": ""})
    why = {each.path: each.why for each in project_files.listing(root).left_out}
    assert why["sub/a.csv"] == "sub/.gitignore line 2: *.csv"
    assert why["b.pyc"] == "left out by default: *.pyc"


def test_a_line_that_is_no_pattern_is_named(tmp_path: Path) -> None:
    found = project_files.listing(write(tmp_path, {".flashignore": "!\n", "a.txt": ""}))
    assert any(".flashignore line 1" in text for text in found.warnings)
    assert "a.txt" in found.files
