"""A server that others use: keys and what they open, addresses and when they are refused, TLS, the foreground."""

import contextlib
import json
import os
import re
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.support.certificates import make_certificate
from tests.support.listening_plane import BODY, ListeningPlane
from tests.support.place import Place
from tests.support.plane_api import last_input, plane_folder, plane_record
from tests.support.processes import processes_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

RUNS = """
import sys
from runpod_flash import Endpoint
@Endpoint(name="greeter", cpu="cpu3c-1-2")
def greet(name):
    print("a line of output")
    return f"hello {name}"
job = greet.spawn(sys.argv[1])
print(job.id, job.result())
"""

CALLS_ANOTHER = """
import sys
from runpod_flash import Endpoint
WHO = sys.argv[1]
@Endpoint(name="inner", cpu="cpu3c-1-2")
def inner(x):
    return f"{WHO}'s inner of {x}"
@Endpoint(name="outer", cpu="cpu3c-1-2")
async def outer(x):
    return "outer of " + await inner(x)
if __name__ == "__main__":
    print({"inner": inner, "outer": outer}[sys.argv[2]].remote(1))
"""

DEPLOYED = """
from runpod_flash import Endpoint
@Endpoint(name="inner", cpu="cpu3c-1-2")
def inner(x):
    return f"{WHO}'s inner of {x}"
@Endpoint(name="outer", cpu="cpu3c-1-2")
async def outer(x):
    return "outer of " + await inner(x)
if __name__ == "__main__":
    print(outer.remote(1))
"""

SERVES = """
import asyncio, os
from runpod_flash import Endpoint
api = Endpoint(name="served", cpu="cpu3c-1-2")
@api.post("/upload")
async def upload(data: bytes):
    print("a line of output")
    return {"bytes": len(data), "user": os.getuid()}
async def main():
    print(await api.post("/upload", {"data": b"abc"}), api.url)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListeningPlane]:
    """One server for the tests here that do not mind each other."""
    place = Place.below(tmp_path_factory.mktemp("others"))
    yield ListeningPlane.start(place)
    place.close()


def made(client: httpx.Client, name: str = "palette") -> str:
    """A new endpoint of the client's user; its id."""
    answer = client.post("/v2/serverless", json={**BODY, "name": name})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def ids(client: httpx.Client) -> list[str]:
    """The endpoints that a user is shown."""
    return [endpoint["id"] for endpoint in client.get("/v2/serverless").json()["endpoints"]]


def refused_like_unknown(client: httpx.Client, method: str, path: str, name: str, **options: object) -> None:
    """The answer for what belongs to another is that for what is not there, but for the name."""
    refused = client.request(method, path.format(name), **options)  # type: ignore[arg-type]
    unknown = client.request(method, path.format("nowhere"), **options)  # type: ignore[arg-type]
    assert refused.status_code == 404, f"{method} {path}: {refused.text}"
    assert refused.text == unknown.text.replace("nowhere", name)


def test_routes_are_served_to_their_user_alone(server: ListeningPlane) -> None:
    carol_key, dave_key = server.key("carol"), server.key("dave")
    done = server.place.run_script(SERVES, env=server.sdk(carol_key), timeout_s=170).good()
    (said,) = (line for line in done.stdout.splitlines() if line != "a line of output")  # which may come later, too
    answer, _, url = said.rpartition(" ")
    assert answer == f"{{'bytes': 3, 'user': {os.getuid()}}}"
    path = urlsplit(url).path
    with server.client(carol_key) as carol, server.client(dave_key) as dave:
        assert carol.get(f"{path}/openapi.json").json()["info"]["title"] == "served"
        assert dave.get(f"{path}/openapi.json").status_code == 404


def test_an_sdk_program_runs_with_a_users_key_and_others_see_nothing_of_it(server: ListeningPlane) -> None:
    alice_key, bob_key = server.key("alice"), server.key("bob", "--name", "of bob's laptop")
    scripts = [server.place.run_script(RUNS, arguments=[name], env=server.sdk(key)).good() for name, key in (
        ("alice", alice_key), ("bob", bob_key),
    )]  # fmt: skip
    (job, said), (other_job, other_said) = (script.stdout.splitlines()[-1].split(" ", 1) for script in scripts)
    assert (said, other_said) == ("hello alice", "hello bob")
    with server.client(alice_key) as alice, server.client(bob_key) as bob, server.client(server.owner_key) as owner:
        ((hers,), (his,)) = (ids(user) for user in (alice, bob))
        assert hers != his
        assert owner.get("/v2/serverless").json()["endpoints"] == []
        every = owner.get("/v2/serverless?all=true").json()["endpoints"]
        assert {hers, his} <= {each["id"] for each in every}
        assert owner.get(f"/v2/{hers}/status/{job}").json()["status"] == "COMPLETED"
        logs = alice.get(f"/flash/v1/jobs/{job}/logs").json()
        assert [line["line"] for line in logs["lines"]] == ["a line of output"]
        assert alice.get(f"/v2/{hers}/status/{job}").json()["status"] == "COMPLETED"
        refused_like_unknown(bob, "GET", "/flash/v1/jobs/{}", job)
        refused_like_unknown(bob, "GET", "/flash/v1/jobs/{}/logs", job)
        for method, path in (
            ("GET", "/v2/serverless/{}"),
            ("PATCH", "/v2/serverless/{}"),
            ("DELETE", "/v2/serverless/{}"),
            ("GET", "/v2/serverless/{}/workers"),
            ("GET", "/v2/{}/health"),
            ("GET", f"/v2/{{}}/status/{job}"),
            ("POST", f"/v2/{{}}/cancel/{job}"),
        ):
            refused_like_unknown(bob, method, path, hers)
        for path in ("/v2/{}/run", "/v2/{}/runsync"):
            refused_like_unknown(bob, "POST", path, hers, json={"input": {"x": 1}})
        mixed = bob.post("/flash/v1/jobs/watch", json={"client": "c", "jobs": [job, other_job]}).json()
        assert ([each["id"] for each in mixed["jobs"]], mixed["unknown"]) == ([other_job], [job])
        assert [entry["id"] for entry in bob.get("/flash/v1/status").json()["endpoints"]] == [his]


def test_events_go_to_the_user_whose_they_are(server: ListeningPlane) -> None:
    keys = [server.key(user) for user in ("dora", "emil")]
    server.place.run_script(RUNS, arguments=["once"], env=server.sdk(keys[0])).good()
    call = {"input": last_input(server.place)}
    with contextlib.ExitStack() as stack:
        dora, emil = (stack.enter_context(server.client(key)) for key in keys)
        endpoints = [made(user) for user in (dora, emil)]
        streams = [stack.enter_context(user.stream("GET", "/flash/v1/events?client=same")) for user in (dora, emil)]
        heard = [stream.iter_lines() for stream in streams]
        assert [json.loads(next(lines))["event"] for lines in heard] == ["hello", "hello"]
        jobs = []
        for user, endpoint, lines in zip((dora, emil), endpoints, heard, strict=True):  # hers ends before his begins
            answer = user.post(f"/v2/{endpoint}/run", json=call, headers={"X-Flash-Client": "same"})
            jobs.append(answer.json()["id"])
            events = [json.loads(line) for line in until_a_job(lines)]
            assert {event["endpoint"] for event in events[:-1] if "endpoint" in event} == {endpoint}
            assert events[-1]["job"]["id"] == jobs[-1]
        assert emil.get("/flash/v1/events?client=dora/same").status_code == 400


def test_code_of_a_user_calls_other_endpoints_of_theirs_and_nobody_else_s(server: ListeningPlane) -> None:
    nina, otto = server.key("nina"), server.key("otto")

    def ran(*arguments: str, key: str) -> str:
        return server.place.run_script(CALLS_ANOTHER, arguments=arguments, env=server.sdk(key)).good().stdout.strip()

    assert ran("otto", "inner", key=otto) == "otto's inner of 1"
    assert ran("nina", "inner", key=nina) == "nina's inner of 1"
    assert ran("nina", "outer", key=nina) == "outer of nina's inner of 1"
    with server.client(nina) as hers, server.client(otto) as his:
        assert sorted(each["name"] for each in hers.get("/v2/serverless").json()["endpoints"]) == ["inner", "outer"]
        (inner,) = ids(his)
        assert his.get(f"/v2/{inner}/health").json()["jobs"]["completed"] == 1


def test_apps_of_one_name_of_two_users_do_not_mix(server: ListeningPlane) -> None:
    keys = {who: server.key(who) for who in ("paula", "quinn")}
    stage = {"FLASH_APP": "same", "FLASH_ENV": "test"}

    def run(who: str, *command: str) -> str:
        env = {**server.sdk(keys[who]), **stage}
        return server.place.run(command, cwd=server.place.project / who, env=env).good().stdout.strip()

    for who in keys:
        server.place.write(f"{who}/pyproject.toml", "")
        server.place.write(f"{who}/app.py", f"WHO = {who!r}\n{DEPLOYED}")
        run(who, "-m", "flash_cli", "deploy", "--yes", "--no-smoke")
    for who in keys:
        assert run(who, "app.py") == f"outer of {who}'s inner of 1"
    server.place.write("quinn/app.py", DEPLOYED)  # the file of the caller does not matter
    assert run("quinn", "app.py") == "outer of quinn's inner of 1"


def until_a_job(lines: Iterator[str]) -> Iterator[str]:
    """The lines of a stream to the first end of a job."""
    for line in lines:
        yield line
        if json.loads(line)["event"] == "job":
            return


def test_what_narrow_keys_may(server: ListeningPlane) -> None:
    with server.client(server.key("fred")) as fred:
        one, two = made(fred, "one"), made(fred, "two")
    wanted = ("--scope", "endpoint", "--endpoint", one)
    with server.client(server.key("fred", *wanted)) as narrow, server.client(
        server.key("fred", "--scope", "read-only")
    ) as looker:  # fmt: skip
        assert narrow.get(f"/v2/{one}/health").status_code == 200
        refused_like_unknown(narrow, "GET", "/v2/{}/health", two)
        assert [each["id"] for each in looker.get("/v2/serverless").json()["endpoints"]] == [one, two]
        assert looker.get(f"/v2/{two}/health").status_code == 200
        for client in (narrow, looker):
            assert client.post("/v2/serverless", json=BODY).status_code == 403
            assert client.patch(f"/v2/serverless/{one}", json={"timeout": 5}).status_code == 403
            assert client.delete(f"/v2/serverless/{one}").status_code == 403
            assert client.get("/flash/v1/keys").status_code == 403
        assert looker.post(f"/v2/{one}/run", json={"input": {"x": 1}}).status_code == 403
        assert looker.put(f"/flash/v1/values/{'0' * 64}", content=b"x").status_code == 403
        assert narrow.post(f"/v2/{one}/run", json={"input": {"x": 1}}).status_code != 403
    unknown = server.place.flash("server", "keys", "create", "--user", "gina", *wanted)
    assert unknown.status == 1
    assert "user gina has no endpoint of this id" in unknown.stderr


def test_keys_from_their_making_to_their_end(server: ListeningPlane) -> None:
    key = server.key("hans", "--name", "old laptop")
    assert re.fullmatch(r"flash_[0-9a-f]{16}_[\w-]{43}", key)
    (shown,) = [each for each in server.listed() if each["user"] == "hans"]
    assert (shown["name"], shown["scope"], shown["revoked"]) == ("old laptop", "full", None)
    with server.client(key) as hans:
        assert hans.get("/v2/serverless").status_code == 200
        assert hans.post("/flash/v1/keys", json={"user": "hans"}).status_code == 403
        assert server.place.flash("server", "keys", "revoke", shown["id"]).good().stdout
        answer = hans.get("/v2/serverless")
    assert (answer.status_code, answer.json()["detail"]) == (401, "invalid api key")
    table = server.place.flash("server", "keys", "list").good().stdout
    assert re.search(rf"^{shown['id']} +hans +old laptop +full +.*ago +revoked .* ago$", table, re.MULTILINE)
    unknown = server.place.flash("server", "keys", "revoke", "nothing")
    assert (unknown.status, "there is no key 'nothing'" in unknown.stderr) == (1, True)
    bad = server.place.flash("server", "keys", "create", "--user", "Hans!")
    assert (bad.status, "field 'user' is 'Hans!'" in bad.stderr) == (1, True)
    secrets = [key, key.split("_", 2)[2], server.owner_key]
    for path in sorted(server.place.home.rglob("*")):
        if path.is_file() and path.name != "key":
            content = path.read_bytes()
            assert [text for text in secrets if text.encode() in content] == [], path


def test_how_it_shows_itself(server: ListeningPlane) -> None:
    (plane,) = json.loads(server.place.flash("server", "status", "--json").good().stdout)["planes"]
    assert plane["url"] == server.url
    assert f"  {server.url}, for those who have a key" in server.place.flash("server", "status").good().stdout
    again = server.place.flash("server", "start", "--listen", "127.0.0.1:1")
    assert again.status == 1
    assert f"runs already, listening on {server.url}; stop it first" in again.stderr
    assert "runs already" in server.place.flash("server", "start", "--listen", server.url[7:]).good().stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "0.0.0.0:0"], "which others can reach"),
        (["--listen", "nonsense"], "must be HOST:PORT"),
        (["--insecure"], "FLASH_LISTEN"),
        (["--listen", "0.0.0.0:0", "--tls-cert", "cert.pem"], "FLASH_TLS_KEY"),
        (["--listen", "0.0.0.0:0", "--tls-cert", "gone.pem", "--tls-key", "key.pem"], "gone.pem' , which"),
        (["--listen", "0.0.0.0:0", "--tls-cert", "cert.pem", "--tls-key", "cert.pem"], "cannot be used together"),
    ],
)
def test_what_it_does_not_start_with(place: Place, arguments: list[str], said: str) -> None:
    make_certificate(place.project)
    done = place.flash("server", "start", *arguments)
    assert done.status == 1
    assert said.replace(" ,", ",") in done.stderr
    assert "Traceback" not in done.stderr
    assert processes_of(place.home) == []


def test_without_tls_where_that_is_wanted(place: Place) -> None:
    server = ListeningPlane.start(place, "--insecure", listen="0.0.0.0:0")
    assert server.url.startswith("http://0.0.0.0:")
    port = int(server.url.rpartition(":")[2])
    assert httpx.get(f"http://127.0.0.1:{port}/v2/serverless", trust_env=False).status_code == 401


def test_over_tls(place: Place) -> None:
    cert, _ = make_certificate(place.project)
    files = ("--tls-cert", "cert.pem", "--tls-key", "key.pem")
    server = ListeningPlane.start(place, *files, listen="127.0.0.2:0")
    assert server.url.startswith("https://127.0.0.2:")
    alice = server.key("alice")
    context = ssl.create_default_context(cafile=str(cert))
    with server.client(alice, verify=context) as client:
        shown = client.post("/v2/serverless", json=BODY).json()
        assert shown["requestUrls"]["run"].startswith(f"{server.url}/v2/")
        assert [each["id"] for each in client.get("/v2/serverless").json()["endpoints"]] == [shown["id"]]
    with server.client(alice) as distrustful, pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        distrustful.get("/v2/serverless")
    plain = server.url.replace("https", "http")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{plain}/v2/serverless", trust_env=False)
    env = {**server.sdk(alice), "SSL_CERT_FILE": str(cert)}
    assert place.run_script(RUNS, arguments=["tls"], env=env).good().stdout.endswith(" hello tls\n")


def test_somebody_logs_in_over_tls_and_calls(place: Place, tmp_path: Path) -> None:
    cert, _ = make_certificate(place.project)
    server = ListeningPlane.start(place, "--tls-cert", "cert.pem", "--tls-key", "key.pem", listen="127.0.0.2:0")
    hers = Place.below(tmp_path / "laptop")
    trust = {"SSL_CERT_FILE": str(cert)}
    distrustful = hers.flash("login", server.url)
    assert (distrustful.status, f"{server.url} cannot be reached" in distrustful.stderr) == (1, True)
    with hers.start(["-m", "flash_cli", "login", server.url], env=trust) as process:
        try:
            assert process.stderr is not None
            code = next(found[0] for line in process.stderr if (found := re.search("[A-Z]{4}-[A-Z]{4}", line)))
            place.flash("server", "keys", "approve", code, "--user", "ada").good()
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert said == f"logged in: calls go to {server.url}\n"
    assert hers.run_script(RUNS, arguments=["ada"], env=trust).good().stdout.endswith(" hello ada\n")
    assert [key["user"] for key in server.listed()] == ["ada"]
    assert processes_of(hers.home) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_in_the_foreground_until_it_is_told_to_end(place: Place, number: signal.Signals) -> None:
    arguments = ["-m", "flash_cli", "server", "start", "--foreground", "--listen", "127.0.0.1:0"]
    with place.start(arguments) as process:
        try:
            record = wait_until(lambda: _serving(place), 30, "the server serves")
            assert record["pid"] == process.pid
            answer = httpx.get(f"{record['url']}/v2/serverless", trust_env=False)
            assert answer.status_code == 401
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert f"listening for others: {record['url']}" in said
    assert not (plane_folder(place) / "record.json").exists()
    assert processes_of(place.home) == []


def _serving(place: Place) -> dict[str, object] | None:
    try:
        record = plane_record(place)
    except (OSError, ValueError):
        return None
    return record if record["state"] == "serving" else None


def test_it_stays_when_it_is_idle(place: Place) -> None:
    arguments = ["server", "start", "--listen", "127.0.0.1:0"]
    place.flash(*arguments, env={"FLASH_IDLE_EXIT_S": "0.2"}).good()
    process = psutil.Process(plane_record(place)["pid"])
    with pytest.raises(psutil.TimeoutExpired):
        process.wait(2)


def test_hardware_that_is_not_there_is_refused(place: Place) -> None:
    place.flash("server", "start", "--listen", "127.0.0.1:0", env={"FLASH_FAKE_GPUS": "NVIDIA A40:48"}).good()
    server = ListeningPlane(place, str(plane_record(place)["url"]))
    script = """
from runpod_flash import Endpoint, GpuGroup
@Endpoint(name="on-gpu", gpu=GpuGroup.ADA_24)
def f():
    return 1
f.remote()
"""
    done = place.run_script(script, env=server.sdk(server.key("alice")))
    assert done.status == 1
    assert "is asked for, this machine has 1 × NVIDIA A40" in done.stderr
