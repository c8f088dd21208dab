"""`flash dev` over a real control plane and real workers: edits, broken files, answers as the API has them, its end."""

import os
import signal

import psutil
import pytest

from tests.support.dev_session import (
    ADD,
    MODEL,
    OUTER,
    WEB,
    DevProject,
    flash_dev,
    flash_dev_in_terminal,
    read_terminal,
)
from tests.support.place import Place
from tests.support.waiting import wait_until


@pytest.fixture
def project(shared_place: Place, request: pytest.FixtureRequest) -> DevProject:
    """A project with one function."""
    found = DevProject.below(shared_place, f"dev-{abs(hash(request.node.name)) % 10**8}")
    found.write("maths/add.py", ADD)
    return found


def test_an_edit_is_live_on_the_next_call_and_a_broken_file_is_told(project: DevProject) -> None:
    with flash_dev(project) as dev:
        assert dev.output("/maths/add/runsync", a=1) == 2
        project.write("maths/add.py", ADD.replace("a + b", "a * 100 + b"))
        assert dev.output("/maths/add/runsync", a=1) == 101
        project.write("maths/add.py", "from runpod_flash import Endpoint\nimport no_such_module\n")
        broken = dev.call("/maths/add/runsync", {"input": {"a": 1}})
        assert broken.status == 503
        assert "maths/add.py" in broken.body["detail"]
        assert "no_such_module" in broken.body["detail"]
        assert "line 2" in broken.body["detail"]
        told = dev.wait_for("request", path="/maths/add/runsync", jobStatus="COMPLETED")
        assert told["worker"]
        assert told["waits"] == ["starting a worker"]
        assert dev.wait_for("log", name="add")["lines"] == ["adding 1"]
        assert dev.end() == 0


@pytest.mark.slow
def test_a_mended_file_is_live_and_the_end_removes_all(project: DevProject) -> None:
    project.write("maths/add.py", "import no_such_module\nfrom runpod_flash import Endpoint\n")
    with flash_dev(project) as dev:
        assert dev.call("/maths/add/runsync", {"input": {"a": 1}}).status == 503
        project.write("maths/add.py", ADD)
        assert dev.output("/maths/add/runsync", a=1) == 2
        assert [stage[:4] for stage in project.stages()] == ["dev-"]
        assert dev.end() == 0
    assert project.stages() == []


@pytest.mark.slow
def test_the_job_api_is_there_with_its_errors(project: DevProject) -> None:
    project.write("model.py", MODEL)
    project.write("web.py", WEB)
    with flash_dev(project) as dev:
        assert dev.output("/model/predict/runsync", x=3) == [3, 1]
        assert dev.output("/model/predict/runsync", x=4) == [4, 2]
        failed = dev.call("/model/fail/runsync")
        assert (failed.status, failed.body["status"]) == (200, "FAILED")
        assert "no such model" in failed.body["error"]
        wrong = dev.call("/maths/add/runsync", {"input": {"c": 1}})
        assert wrong.status == 422
        assert "'a' is missing" in wrong.body["detail"].replace("input.", "")

        job = dev.call("/maths/add/run", {"input": {"a": 5}})
        assert (job.status, job.body["status"]) == (200, "IN_QUEUE")
        ended = dev.wait_for("job", job=job.body["id"])
        assert ended["jobStatus"] == "COMPLETED"
        assert dev.call(f"/maths/add/status/{job.body['id']}", method="GET").body["output"] == 6
        assert dev.call("/maths/add/status/no-such-job", method="GET").status == 404
        assert dev.call("/v2/add/health", method="GET").body["jobs"]["completed"] >= 1
        assert dev.call("/v2/add/runsync", {"input": {"a": 1}}).body["output"] == 2

        assert dev.call("/web/hello/you", method="GET").body == {"hello": "you"}
        assert dev.call("/web/no/such/path", method="GET").status == 404
        assert dev.call("/nowhere/runsync").status == 404
        document = dev.call("/openapi.json", method="GET").body
        assert document["paths"]["/web/hello/{name}"]["get"]["operationId"]  # as FastAPI has it
        assert {"/maths/add/runsync", "/model/predict/runsync", "/web/hello/{name}"} <= document["paths"].keys()
        assert dev.call("/", method="GET", Origin="https://evil.example").status == 403


@pytest.mark.slow
def test_endpoints_call_each_other_within_the_session(project: DevProject) -> None:
    project.write("outer.py", OUTER)
    with flash_dev(project) as dev:
        assert dev.output("/outer/runsync", n=1) == 20
        assert dev.wait_for("log", name="add")["lines"] == ["adding 1"]
        project.write("maths/add.py", ADD.replace("a + b", "a + b + 5"))
        assert dev.output("/outer/runsync", n=1) == 70


@pytest.mark.slow
def test_endpoints_come_and_go_and_others_keep_their_workers(project: DevProject) -> None:
    project.write("model.py", MODEL)
    with flash_dev(project) as dev:
        assert dev.output("/model/predict/runsync", x=0) == [0, 1]
        project.write("new.py", ADD.replace("add", "more"))
        assert dev.output("/new/runsync", a=2) == 3
        (project.folder / "maths" / "add.py").unlink()
        assert dev.call("/maths/add/runsync", {"input": {"a": 1}}).status == 404
        assert {each["name"] for each in project.place.endpoints() if each.get("app") == project.folder.name} == {
            "model",
            "more",
        }
        project.write("helper.py", "FACTOR = 3\n")
        project.write("new.py", "from helper import FACTOR\n" + ADD.replace("add", "more").replace("+ b", "* FACTOR"))
        assert dev.output("/new/runsync", a=2) == 6
        project.write("helper.py", "FACTOR = 5\n")
        assert dev.output("/new/runsync", a=2) == 10
        assert dev.output("/model/predict/runsync", x=0) == [0, 2]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_leave_nothing_of_this_session_and_all_of_others(project: DevProject, number: int, status: int) -> None:
    with flash_dev(project) as other, flash_dev(project) as dev:
        assert other.url != dev.url
        assert dev.output("/maths/add/runsync", a=1) == 2
        assert other.output("/maths/add/runsync", a=1) == 2
        before = set(project.stages())
        assert len(before) == 2
        assert dev.end(number) == status
        assert len(project.stages()) == 1
        assert other.output("/maths/add/runsync", a=2) == 3
        assert other.end() == 0
    assert project.stages() == []


@pytest.mark.slow
def test_ctrl_c_in_a_terminal(project: DevProject) -> None:
    with flash_dev_in_terminal(project) as dev:
        shown = read_terminal(dev, "stop: Ctrl-C")
        assert "/maths/add/runsync" in shown
        dev.url = shown[shown.index("http://") :].split()[0]
        assert dev.output("/maths/add/runsync", a=1) == 2
        shown = read_terminal(dev, "✓ 200" if os.environ.get("LC_ALL", "").lower().endswith("utf-8") else "200")
        assert "[add] adding 1" in shown
        assert "POST /maths/add/runsync" in shown
        family = psutil.Process(dev.process.pid).children(recursive=True)
        os.write(dev.terminal, b"\x03")
        assert dev.ended(family) == 0
    assert project.stages() == []


@pytest.mark.slow
def test_a_closed_terminal_ends_it(project: DevProject) -> None:
    with flash_dev_in_terminal(project) as dev:
        read_terminal(dev, "stop: Ctrl-C")
        family = psutil.Process(dev.process.pid).children(recursive=True)
        os.close(dev.terminal)
        assert dev.ended(family) == 129
    assert project.stages() == []


@pytest.mark.slow
def test_ctrl_c_while_it_builds(project: DevProject) -> None:
    project.write("slow.py", "from runpod_flash import Endpoint\nimport time\ntime.sleep(25)\n")
    process = project.place.start(["-m", "flash_cli", "dev"], cwd=project.folder)
    try:
        child = wait_until(lambda: psutil.Process(process.pid).children(recursive=True), 30, "the build has begun")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
        _, left = psutil.wait_procs(child, timeout=10)
        assert not left
    finally:
        process.kill()
        process.communicate()
    assert project.stages() == []


@pytest.mark.slow
def test_a_target_that_goes_away_comes_back_with_the_session(place: Place) -> None:
    project = DevProject.below(place, "away")
    project.write("add.py", ADD)
    with flash_dev(project) as dev:
        assert dev.output("/add/runsync", a=1) == 2
        place.flash("server", "stop", "--now").good()
        assert dev.output("/add/runsync", a=2) == 3
        project.write("add.py", ADD.replace("a + b", "a + b + 10"))
        assert dev.output("/add/runsync", a=2) == 13
        assert dev.end() == 0
    assert project.stages() == []


@pytest.mark.slow
def test_workers_start_before_the_first_call_where_that_is_asked_for(project: DevProject) -> None:
    with flash_dev(project, "--auto-provision", "--no-reload") as dev:

        def ready() -> bool:
            found = [each for each in project.place.endpoints() if each.get("app") == project.folder.name]
            return any(each["workers"]["ready"] for each in found)

        wait_until(ready, 60, "a worker")
        project.write("maths/add.py", ADD.replace("a + b", "a * 100 + b"))
        assert dev.output("/maths/add/runsync", a=1) == 2


@pytest.mark.slow
def test_what_cannot_be_served_ends_with_one_message(shared_place: Place) -> None:
    project = DevProject.below(shared_place, "dev-nothing")
    ended = shared_place.run(["-m", "flash_cli", "dev"], cwd=project.folder)
    assert ended.status == 1
    assert "no endpoint" in ended.stderr.lower()
    assert "Traceback" not in ended.stderr
    project.write("a.py", ADD)
    ended = shared_place.run(["-m", "flash_cli", "dev", "--host", "192.0.2.1"], cwd=project.folder)
    assert ended.status == 1
    assert "--host" in ended.stderr
