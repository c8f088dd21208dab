"""Who tries to read what is not theirs: another user of the machine, and user code inside a worker."""

import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import intruder
from tests.support.certificates import make_certificate
from tests.support.listening_plane import BODY, ListeningPlane
from tests.support.nobody import needs_root, place_of_nobody
from tests.support.place import ROOT, Place
from tests.support.plane_api import plane_folder, plane_record
from worker_runtime.wire import paths
from worker_runtime.wire.jobs import Call, Payload
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

WORDS = "what-bob-alone-may-know"

PROGRAMS = (sys.prefix, str(ROOT / "runpod_flash"), str(ROOT / "worker_runtime"), os.path.dirname(httpx.__file__))
"""Folders that hold what the server runs."""

BOB = f"""
from pathlib import Path
from runpod_flash import Endpoint
@Endpoint(name="secretive", cpu="cpu3c-1-2")
def keep(words):
    Path("note").write_text(words)
    print(words)
    return words
job = keep.spawn({WORDS!r})
job.result()
print(job.id)
"""

ALICE = """
import json, sys
from runpod_flash import Endpoint
import intruder
@Endpoint(name="intruder", cpu="cpu3c-1-2")
def intrude(*facts):
    return intruder.in_a_worker(*facts)
print(json.dumps(intrude.remote(*map(json.loads, sys.argv[1:]))))
"""


@pytest.mark.slow
@needs_root
def test_another_user_of_the_machine_reads_nothing_and_reaches_nothing(tmp_path: Path) -> None:
    with place_of_nobody() as (public, command):  # a folder that all may enter, an interpreter that nobody may start
        place = Place(public.project / "of-root" / "home", tmp_path)
        place.home.parent.mkdir()
        code = shutil.copy(intruder.__file__, public.project)
        try:
            server = ListeningPlane.start(place)
            with server.client(server.key("alice")) as alice:
                assert alice.post("/v2/serverless", json=BODY).status_code == 201
            facts = [str(place.home), str(plane_folder(place)), json.dumps(plane_record(place))]
            done = subprocess.run(
                [*command, "-I", code, *facts], cwd="/", capture_output=True, text=True, check=False, timeout=60
            )
        finally:
            place.close()
    assert done.returncode == 0, done.stderr
    tries = json.loads(done.stdout)
    assert len(tries) == 15
    assert {name: found for name, found in tries.items() if found is not None} == {}


class Intrusion:
    """Alice's function tries to get at what is the owner's and Bob's: once, for all tests here."""

    def __init__(self, server: ListeningPlane, cert: Path, tls_key: Path) -> None:
        self.server, self.cert = server, cert
        self.keys = {user: server.key(user) for user in ("alice", "bob")}
        self.secrets = {"the owner's key": server.owner_key, **self.keys, "bob's words": WORDS}
        self.secrets["the key for TLS"] = tls_key.read_text()
        self.job = self._run(BOB, "bob")
        with self.bob() as bob:
            (endpoint,) = bob.get("/v2/serverless").json()["endpoints"]
        self.endpoint = str(endpoint["id"])
        facts = (str(server.place.home), plane_record(server.place), self._requests(), str(tls_key), list(PROGRAMS))
        shutil.copy(intruder.__file__, server.place.project)
        self.tries: intruder.Tries = json.loads(self._run(ALICE, "alice", *map(json.dumps, facts)))

    def bob(self) -> httpx.Client:
        """A client with Bob's key."""
        context = ssl.create_default_context(cafile=str(self.cert))
        return self.server.client(self.keys["bob"], verify=context)

    def found(self, name: str) -> list[str]:
        """Whose secrets an attempt has brought up."""
        text = json.dumps(self.tries[name])
        return [whose for whose, secret in self.secrets.items() if secret in text]

    def _run(self, script: str, user: str, *arguments: str) -> str:
        env = {**self.server.sdk(self.keys[user]), "FLASH_LOGS": "off", "SSL_CERT_FILE": str(self.cert)}
        return self.server.place.run_script(script, arguments=arguments, env=env).good().stdout.strip()

    def _requests(self) -> dict[str, list[Any]]:
        job, endpoint, key = self.job, self.endpoint, self.server.listed()[0]["id"]
        return {
            "list keys": ["GET", "/flash/v1/keys"],
            "make a key": ["POST", "/flash/v1/keys", {"user": "alice"}],
            "revoke a key": ["DELETE", f"/flash/v1/keys/{key}"],
            "list all endpoints": ["GET", "/v2/serverless?all=true"],
            "list own endpoints": ["GET", "/v2/serverless"],
            "status": ["GET", "/flash/v1/status"],
            "look at it": ["GET", f"/v2/serverless/{endpoint}"],
            "change it": ["PATCH", f"/v2/serverless/{endpoint}", {"timeout": 1}],
            "delete it": ["DELETE", f"/v2/serverless/{endpoint}"],
            "its workers": ["GET", f"/v2/serverless/{endpoint}/workers"],
            "its health": ["GET", f"/v2/{endpoint}/health"],
            "run it": ["POST", f"/v2/{endpoint}/run", {"input": {"x": 1}}],
            "its job": ["GET", f"/v2/{endpoint}/status/{job}"],
            "cancel its job": ["POST", f"/v2/{endpoint}/cancel/{job}"],
            "facts of its job": ["GET", f"/flash/v1/jobs/{job}"],
            "logs of its job": ["GET", f"/flash/v1/jobs/{job}/logs"],
            "watch its job": ["POST", "/flash/v1/jobs/watch", {"client": "c", "jobs": [job]}],
        }


@pytest.fixture(scope="module")
def intrusion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intrusion]:
    place = Place.below(tmp_path_factory.mktemp("privacy"))
    cert, tls_key = make_certificate(place.project)
    try:
        yield Intrusion(ListeningPlane.start(place, "--tls-cert", "cert.pem", "--tls-key", "key.pem"), cert, tls_key)
    finally:
        place.close()
        for left in (Path(folder, intruder.MARK) for folder in PROGRAMS):
            left.unlink(missing_ok=True)


def test_user_code_finds_neither_state_nor_sockets(intrusion: Intrusion) -> None:
    assert intrusion.tries["reachable"] == []


def test_user_code_that_is_root_does_not_uncover_them(intrusion: Intrusion) -> None:
    assert intrusion.tries["uncovered"] == []


def test_user_code_does_not_get_around_them(intrusion: Intrusion) -> None:
    assert intrusion.tries["around"] == []


def test_the_environment_of_user_code_has_its_workers_key_alone(intrusion: Intrusion) -> None:
    assert intrusion.found("environment") == []
    environment = intrusion.tries["environment"]
    assert environment["FLASH_API_KEY"] not in intrusion.secrets.values()
    assert not {"FLASH_HOME", "FLASH_LISTEN"} & set(environment)


def test_user_code_learns_nothing_of_other_processes(intrusion: Intrusion) -> None:
    assert intrusion.found("of processes") == []
    assert "runpod_flash.control_plane" not in json.dumps(intrusion.tries["of processes"])


def test_user_code_does_not_see_the_folders_of_other_workers(intrusion: Intrusion) -> None:
    assert intrusion.tries["work of others"] == []


def test_user_code_does_not_read_the_key_for_tls_wherever_it_lies(intrusion: Intrusion) -> None:
    assert intrusion.tries["secret"] == ""
    assert [name for name in intrusion.tries if "the key for TLS" in intrusion.found(name)] == []


def test_user_code_changes_nothing_that_others_run(intrusion: Intrusion) -> None:
    home, own = intrusion.server.place.home, intrusion.tries["environment"]["RUNPOD_POD_ID"]
    assert [path for path in home.rglob(intruder.MARK) if own not in path.parts] == []
    assert [folder for folder in PROGRAMS if Path(folder, intruder.MARK).exists()] == []
    assert (intrusion.tries["left"], intrusion.tries["left after that"]) == ([], [])


def test_user_code_puts_nothing_in_the_place_of_what_others_run(intrusion: Intrusion) -> None:
    assert intrusion.tries["moved"] == []


@pytest.mark.parametrize("name", ["list keys", "make a key", "revoke a key", "list all endpoints"])
def test_a_workers_key_is_not_for_the_owners_work(intrusion: Intrusion, name: str) -> None:
    status, text = intrusion.tries[name]
    assert (status, json.loads(text)["code"]) == (403, "AuthError")


@pytest.mark.parametrize(
    "name",
    [
        "look at it", "change it", "delete it", "its workers", "its health", "run it", "its job", "cancel its job",
        "facts of its job", "logs of its job",
    ],
)  # fmt: skip
def test_what_is_another_users_is_unknown_to_a_workers_key(intrusion: Intrusion, name: str) -> None:
    status, text = intrusion.tries[name]
    assert (status, intrusion.found(name)) == (404, []), text


def test_a_workers_key_sees_its_users_own(intrusion: Intrusion) -> None:
    for name in ("list own endpoints", "status"):
        status, text = intrusion.tries[name]
        assert (status, [each["name"] for each in json.loads(text)["endpoints"]]) == (200, ["intruder"])
    assert json.loads(intrusion.tries["watch its job"][1])["unknown"] == [intrusion.job]


def test_no_user_chooses_what_the_control_plane_runs(intrusion: Intrusion, tmp_path: Path) -> None:
    program, mark = tmp_path / "python", tmp_path / "it-ran"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    request = EnvironmentRequest(version, caller=str(program))
    manifest = ArtifactManifest("function", "f", hashlib.sha256(b"code").hexdigest(), request)
    call = Call(manifest.id, Payload(inline=b"a", size=1)).to_input()
    with intrusion.bob() as bob:
        put = bob.put(f"/flash/v1/artifacts/{manifest.id}", content=paths.pack(manifest, b"code", {}))
        assert put.status_code == 201, put.text
        job = bob.post(f"/v2/{intrusion.endpoint}/runsync", json={"input": call}).json()
    assert (job["status"], "not for user bob" in job["error"]) == ("FAILED", True), job
    assert not mark.exists()


def test_the_other_user_has_lost_nothing(intrusion: Intrusion) -> None:
    with intrusion.bob() as bob:
        assert bob.get(f"/v2/serverless/{intrusion.endpoint}").status_code == 200
        assert bob.get(f"/flash/v1/jobs/{intrusion.job}").json()["job"]["status"] == "COMPLETED"
        lines = bob.get(f"/flash/v1/jobs/{intrusion.job}/logs").json()["lines"]
        assert [line["line"] for line in lines] == [WORDS]
