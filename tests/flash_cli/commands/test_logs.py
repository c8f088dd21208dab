"""`flash logs` with a real control plane: of jobs, of endpoints, of workers that end, as it comes."""

import json
import signal

import pytest

from tests.support.place import Place
from tests.support.plain_endpoints import plain_endpoint
from tests.support.plane_api import plane_client
from tests.support.waiting import wait_until

SCRIPT = """
import sys, time
from pathlib import Path
from runpod_flash import Endpoint

@Endpoint(name="writes", cpu="cpu3c-1-2", workers=(0, 1), idle_timeout=60)
def write(what, until=None):
    print(what, flush=True)
    print("a warning", file=sys.stderr, flush=True)
    while until and not Path(until).exists():
        time.sleep(0.01)
    if until:
        print("the end")

if __name__ == "__main__":
    until = sys.argv[2] if len(sys.argv) > 2 else None
    print(write.spawn(sys.argv[1], until).id)
"""


def written(place: Place, *arguments: str) -> str:
    """The id of a job that has been submitted."""
    quiet = {"FLASH_LOGS": "off"}  # else what the job writes may come before the program's end
    return place.run_script(SCRIPT, name="writes.py", arguments=arguments, env=quiet).good().stdout.strip()


@pytest.mark.slow
def test_lines_of_a_job_and_of_its_endpoint(shared_place: Place) -> None:
    first = written(shared_place, "hello")
    shared_place.flash("jobs", "attach", first).good()
    assert shared_place.flash("logs", first).good().stdout.splitlines() == ["hello", "a warning"]
    lines = shared_place.flash("logs", "writes", "--since", "10m").good().stdout.splitlines()
    assert [line[9:] for line in lines] == [f"{first[:8]} hello", f"{first[:8]} a warning"]
    told = [json.loads(line) for line in shared_place.flash("logs", "writes", "--json").good().stdout.splitlines()]
    assert [(line["job"], line["stream"], line["attempt"]) for line in told] == [
        (first, "stdout", 1),
        (first, "stderr", 1),
    ]
    assert told[0]["time"] < told[1]["time"]
    assert shared_place.flash("logs", first, "--tail", "1").good().stdout == "a warning\n"
    assert shared_place.flash("logs", first, "--since", "0s").good().stdout == ""


@pytest.mark.slow
def test_a_job_is_followed_to_its_end(shared_place: Place) -> None:
    stop = shared_place.project / "stop"
    job = written(shared_place, "begins", str(stop))
    with shared_place.flash_running("logs", "-f", job) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        stop.touch()
        assert process.stdout.read() == "a warning\nthe end\n"
        assert process.wait(30) == 0


def test_who_follows_a_job_that_waits_is_told_why_and_its_end_ends_that(shared_place: Place) -> None:
    endpoint = plain_endpoint(shared_place, "never-runs", workers=0)
    with plane_client(shared_place) as client:
        submitted = client.post(f"/v2/{endpoint}/run", json={"input": {"n": 1}}).raise_for_status()
        job = submitted.json()["id"]
        with shared_place.flash_running("logs", "-f", job) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith(f"job {job} waits: ")
            client.post(f"/v2/{endpoint}/cancel/{job}").raise_for_status()
            assert process.wait(30) == 0


@pytest.mark.slow
def test_an_endpoint_is_followed_until_ctrl_c(shared_place: Place) -> None:
    written(shared_place, "before")
    with shared_place.flash_running("logs", "writes", "-f", "--json", "--since", "1h") as process:
        assert process.stdout is not None
        heard = []
        while "before" not in heard:
            heard.append(json.loads(process.stdout.readline())["line"])
        after = written(shared_place, "after")
        while "after" not in heard:
            line = json.loads(process.stdout.readline())
            heard.append(line["line"])
        assert line["job"] == after
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (0, "")


@pytest.mark.slow
def test_what_a_worker_says_before_it_crashes_and_why_it_ended(shared_place: Place) -> None:
    body = {
        "name": "crashes",
        "type": "QUEUE",
        "command": "echo begins; echo out of luck >&2; exit 3",
        "cpu": [{"id": "cpu3c", "vcpuCount": 1}],
        "workers": {"min": 1, "max": 1, "idleTimeout": 60},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0},
    }
    shared_place.serve()
    with plane_client(shared_place) as client:
        endpoint = client.post("/v2/serverless", json=body).raise_for_status().json()["id"]
        url = f"/flash/v1/endpoints/{endpoint}/logs"
        wait_until(lambda: "platform" in client.get(url).text, 30, "a worker has ended")
        lines = shared_place.flash("logs", "crashes").good().stdout.splitlines()
        client.delete(f"/v2/serverless/{endpoint}").raise_for_status()
    text = "\n".join(lines[:3])
    assert " begins" in text
    assert " out of luck" in text
    assert "ended: exited with code 3" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("writs",), "there is no endpoint 'writs'; did you mean writes?"),
        (("writes", "--since", "soon"), "--since is 'soon'; it must be a time span"),
    ],
)
def test_what_is_wrong_is_told(shared_place: Place, arguments: tuple[str, ...], words: str) -> None:
    written(shared_place, "there")
    refused = shared_place.flash("logs", *arguments)
    assert (refused.status, refused.stdout) == (1, "")
    assert words in refused.stderr
