"""`flash build` as it is typed: real processes."""

import hashlib
import json
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.builds import QUEUE
from tests.support.place import Place
from tests.support.waiting import wait_until


@pytest.fixture
def here(tmp_path: Path) -> Place:
    place = Place.below(tmp_path)
    place.write("requirements.txt", "")
    return place


def test_a_project_is_built_and_again_to_the_same_bytes(here: Place) -> None:
    here.write("sub/worker.py", QUEUE.format(name="infer") + '    print("noise")\n')
    first = here.flash("build").good()
    assert "sub/worker.py:infer" in first.stdout
    assert "noise" not in first.stdout
    archive = here.project / ".flash" / "artifact.tar.gz"
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert f"sha256:{sha256}" in first.stdout
    again = json.loads(here.flash("build", "--json").good().stdout)
    assert again["sha256"] == sha256
    assert again["app"] == "project"
    assert [(each["name"], each["kind"]) for each in again["endpoints"]] == [("infer", "function")]


def test_it_works_in_a_folder_of_the_project_and_writes_where_it_is_told(here: Place) -> None:
    here.write("worker.py", QUEUE.format(name="infer"))
    here.write("pyproject.toml", "[tool.flash]\napp = 'mine'\n")
    (here.project / "sub").mkdir()
    found = here.run(["-m", "flash_cli", "build", "-o", "x.tgz", "--json"], cwd=here.project / "sub").good()
    assert json.loads(found.stdout)["app"] == "mine"
    assert (here.project / "sub" / "x.tgz").is_file()


@pytest.mark.slow
def test_broken_files_are_named_with_their_traceback_and_nothing_is_kept(here: Place) -> None:
    here.write("good.py", QUEUE.format(name="infer"))
    here.write("bad.py", "import runpod_flash\n1/0\n")
    found = here.flash("build")
    assert found.status == 1
    assert "error: bad.py: ZeroDivisionError: division by zero (bad.py line 2)" in found.stderr
    assert f'File "{here.project / "bad.py"}", line 2' in found.stderr
    assert "1 file cannot be used" in found.stderr
    assert not (here.project / ".flash" / "artifact.tar.gz").exists()
    assert json.loads(here.flash("build", "--json").stdout)["faults"][0]["file"] == "bad.py"


def test_without_endpoints_it_fails_with_one_message(here: Place) -> None:
    found = here.flash("build")
    assert (found.status, found.stdout) == (1, "")
    assert found.stderr.startswith("error: no endpoints in ")


@pytest.mark.slow
def test_the_deadline_of_imports_is_a_setting(here: Place) -> None:
    here.write("slow.py", "import runpod_flash, time\ntime.sleep(600)\n")
    found = here.flash("build", env={"FLASH_IMPORT_S": "1"})
    assert found.status == 1
    assert "after 1 s" in found.stderr
    assert "FLASH_IMPORT_S is 'soon'" in here.flash("build", env={"FLASH_IMPORT_S": "soon"}).stderr


@pytest.mark.slow
def test_it_explains(here: Place) -> None:
    here.write("worker.py", QUEUE.format(name="infer"))
    assert "worker.py" in here.flash("build", "--explain", "infer").good().stdout
    assert json.loads(here.flash("build", "--explain", "infer", "--json").good().stdout)["explained"]["files"]
    assert "there are infer" in here.flash("build", "--explain", "x").stderr


def test_an_interrupt_ends_it_and_what_it_has_started(here: Place) -> None:
    here.write("slow.py", "import os, runpod_flash, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    process = here.start(["-m", "flash_cli", "build"])
    pid = here.project / "pid"
    wait_until(lambda: pid.exists() and pid.read_text())
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    wait_until(lambda: not psutil.pid_exists(int(pid.read_text())))
