"""The face of the command: help, version, exit statuses, errors. Real processes."""

from runpod_flash.release import VERSION
from tests.support.place import Place


def test_version(shared_place: Place) -> None:
    finished = shared_place.flash("--version").good()
    assert finished.stdout == f"flash {VERSION}\n"
    assert finished.stderr == ""


def test_help_names_each_command(shared_place: Place) -> None:
    top, server = shared_place.flash("--help").good().stdout, shared_place.flash("server", "--help").good().stdout
    assert {"status", "server", "target", "--debug", "--version"} <= set(top.split())
    assert {"start", "stop", "status"} <= set(server.split())


def test_wrong_use_is_status_2_and_offers_the_nearest_command(shared_place: Place) -> None:
    finished = shared_place.flash("sever")
    assert finished.status == 2
    assert "server" in finished.stderr
    assert finished.stdout == ""
    assert shared_place.flash("server", "start", "--port", "70000").status == 2


def test_a_failure_is_one_message_on_stderr_and_status_1(shared_place: Place) -> None:
    finished = shared_place.flash("status", env={"FLASH_TARGET": "nonsense"})
    assert finished.status == 1
    assert finished.stdout == ""
    assert finished.stderr.startswith("error: FLASH_TARGET is 'nonsense'")
    assert "Traceback" not in finished.stderr


def test_debug_shows_the_traceback(shared_place: Place) -> None:
    finished = shared_place.flash("--debug", "status", env={"FLASH_TARGET": "nonsense"})
    assert finished.status == 1
    assert "Traceback" in finished.stderr
    assert "ConfigError" in finished.stderr


def test_a_folder_that_cannot_be_written_is_named(shared_place: Place) -> None:
    shared_place.write("a-file", "")
    home = shared_place.project / "a-file" / "home"
    finished = shared_place.flash("server", "start", env={"FLASH_HOME": str(home)})
    assert finished.status == 1
    assert "a-file" in finished.stderr
    assert "FLASH_HOME" in finished.stderr


def test_without_a_command_there_is_help(shared_place: Place) -> None:
    bare = shared_place.flash().good()
    assert bare.stdout == shared_place.flash("-h").good().stdout
    assert shared_place.flash("-v").good().stdout == shared_place.flash("--version").good().stdout


def test_the_page_has_all_commands_below_headings_in_short_lines(shared_place: Place) -> None:
    page = shared_place.flash("--help").good().stdout
    assert "\nWhere it runs:\n" in page
    assert "More:" not in page, "a command has no place in flash_cli/page.py"
    assert max(map(len, page.splitlines())) <= 80
    assert "..." not in page.partition("ARGS]...")[2]
