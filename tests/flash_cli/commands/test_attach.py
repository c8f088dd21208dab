"""`flash jobs attach` with a real control plane: results, failures, and what was never there."""

import json

import pytest

from runpod_flash.journal import Journal
from tests.support.place import Finished, Place

SCRIPT = """
import sys
from runpod_flash import Endpoint
from shapes import Point

@Endpoint(name="attached", cpu="cpu3c-1-2")
def f(what):
    print("from the worker", flush=True)
    print("a warning", file=sys.stderr, flush=True)
    if what == "fail":
        raise ValueError("bad value")
    return {"text": "two\\nlines", "data": {"a": [1, None]}, "set": {3}, "point": Point(1)}[what]

if __name__ == "__main__":
    for what in ("text", "data", "set", "point", "fail"):
        print(what, f.spawn(what).id)
"""

TWO = """
from runpod_flash import Endpoint
@Endpoint(name="e", cpu="cpu3c-1-2")
def f(x): return x
f.spawn(1)
f.spawn(2)
"""


@pytest.fixture(scope="module")
def jobs(shared_place: Place) -> dict[str, str]:
    """Ids of jobs that a program has submitted and not waited for."""
    shared_place.write("shapes.py", "class Point:\n    def __init__(self, x): self.x = x\n")
    lines = shared_place.run_script(SCRIPT).good().stdout.splitlines()
    return dict(line.split() for line in lines)


def attach(place: Place, *arguments: str) -> Finished:
    """Run the command where the project's modules cannot be imported."""
    return place.run(["-m", "flash_cli", *arguments], cwd=place.home)


def test_a_text_is_printed_as_it_is_and_all_else_goes_to_stderr(shared_place: Place, jobs: dict[str, str]) -> None:
    done = attach(shared_place, "jobs", "attach", jobs["text"]).good()
    assert done.stdout == "two\nlines\n"
    assert "from the worker" in done.stderr
    assert "a warning" in done.stderr


def test_other_values_are_shown_as_python_writes_them(shared_place: Place, jobs: dict[str, str]) -> None:
    assert attach(shared_place, "jobs", "attach", jobs["data"]).good().stdout == "{'a': [1, None]}\n"


@pytest.mark.slow
def test_json_for_programs(shared_place: Place, jobs: dict[str, str]) -> None:
    for what, result in (("data", {"a": [1, None]}), ("set", "{3}"), ("text", "two\nlines")):
        found = json.loads(attach(shared_place, "jobs", "attach", jobs[what], "--json").good().stdout)
        assert found == {"id": jobs[what], "status": "COMPLETED", "endpoint": "attached", "result": result}
    failed = attach(shared_place, "jobs", "attach", "--json", jobs["fail"])
    found = json.loads(failed.stdout)
    assert (failed.status, found["status"], found["result"]) == (1, "FAILED", None)
    assert "ValueError: bad value" in found["error"]


def test_a_failure_is_its_message_and_with_debug_its_traceback(shared_place: Place, jobs: dict[str, str]) -> None:
    failed = attach(shared_place, "jobs", "attach", jobs["fail"])
    assert (failed.status, failed.stdout) == (1, "")
    assert f"error: ValueError: bad value (raised by job {jobs['fail']} of endpoint 'attached'" in failed.stderr
    assert "Traceback" not in failed.stderr
    debugged = attach(shared_place, "--debug", "jobs", "attach", jobs["fail"])
    assert debugged.status == 1
    assert "Remote traceback" in debugged.stderr
    assert ", in f\n" in debugged.stderr


def test_a_result_that_cannot_be_loaded_here(shared_place: Place, jobs: dict[str, str]) -> None:
    done = attach(shared_place, "jobs", "attach", jobs["point"])
    assert (done.status, done.stdout) == (1, "")
    assert f"the result of job {jobs['point']} of endpoint 'attached'" in done.stderr
    assert "cannot be loaded here" in done.stderr
    there = shared_place.flash("jobs", "attach", jobs["point"]).good()
    assert "Point object" in there.stdout


def test_what_is_not_there(shared_place: Place, jobs: dict[str, str]) -> None:
    done = attach(shared_place, "jobs", "attach", "no-such-job")
    assert (done.status, done.stdout) == (1, "")
    assert "there is no job no-such-job" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["an-id", "--last"]])
def test_wrong_use(shared_place: Place, arguments: list[str]) -> None:
    done = shared_place.flash("jobs", "attach", *arguments)
    assert (done.status, done.stdout) == (2, "")
    assert "name the job by its id or say --last" in done.stderr


@pytest.mark.slow
def test_the_last_submission_of_a_target(place: Place) -> None:
    nothing = place.flash("jobs", "attach", "--last")
    assert nothing.status == 1
    assert "no program has submitted anything to target 'local' yet" in nothing.stderr
    assert str(place.home / "submitted.jsonl") in nothing.stderr
    assert not (place.home / "planes").exists(), "nothing was started"

    place.run_script(TWO).good()
    Journal(place.home, "http://elsewhere", "/p", print).submitting("k", "e", "ep", "f")
    assert place.flash("jobs", "attach", "--last").good().stdout == "2\n"

    Journal(place.home, "local", "/p", print).submitting("k2", "lost", "ep", "Model.predict")
    lost = place.flash("jobs", "attach", "--last")
    assert lost.status == 1
    assert "the last submission, Model.predict on endpoint 'lost'" in lost.stderr
    assert "never reached the platform" in lost.stderr


def test_jobs_of_the_inline_target_are_nowhere(shared_place: Place) -> None:
    done = shared_place.flash("jobs", "attach", "--last", env={"FLASH_TARGET": "inline"})
    assert done.status == 1
    assert "FLASH_TARGET is 'inline', whose jobs end with their program" in done.stderr


@pytest.mark.slow
def test_a_job_of_a_platform_with_the_published_api_alone_is_found_by_the_journal(place: Place) -> None:
    only = {"FLASH_PUBLISHED_ONLY": "1"}
    place.write("shapes.py", "class Point:\n    def __init__(self, x): self.x = x\n")
    lines = place.run_script(SCRIPT, env=only).good().stdout.splitlines()
    jobs = dict(line.split() for line in lines)
    assert attach(place, "jobs", "attach", jobs["text"]).good().stdout == "two\nlines\n"
    assert "bad value" in attach(place, "jobs", "attach", "--last").stderr
    (place.home / "submitted.jsonl").unlink()
    unknown = attach(place, "jobs", "attach", jobs["text"])
    assert unknown.status == 1
    assert "knows jobs by their endpoints only" in unknown.stderr
