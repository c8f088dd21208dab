"""Whether files have changed since they were looked at."""

import os
from pathlib import Path

from flash_cli.dev.stamps import Stamps


def look(project: Path) -> Stamps:
    return Stamps.of(project, list(project.rglob("*.py")))


def test_edits_new_files_and_lost_ones_are_seen(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "a.py"
    file.write_text("1")
    before = look(tmp_path)
    assert not before.maybe_changed
    file.write_text("22")
    assert before.maybe_changed
    before = look(tmp_path)
    (tmp_path / "sub" / "b.py").write_text("")
    assert before.maybe_changed
    before = look(tmp_path)
    file.unlink()
    assert before.maybe_changed


def test_an_edit_of_the_same_size_and_time_in_another_file_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("1")
    before, stat = look(tmp_path), file.stat()
    other = tmp_path / "a.py.new"
    other.write_text("2")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(file)
    assert before.maybe_changed


def test_a_file_that_does_not_count_changes_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = look(tmp_path)
    (tmp_path / "note.txt").write_text("1")
    assert before.maybe_changed
    assert look(tmp_path).files == before.files
