"""Network volumes over real workers: shared, lasting, at /runpod-volume, nothing of it in the root of the machine."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.listening_plane import ListeningPlane
from tests.support.nobody import NOBODY, needs_root, place_of_nobody, run_as_nobody
from tests.support.place import Place
from tests.support.plane_api import plane_client
from tests.support.waiting import wait_until
from tests.worker_runtime.test_keeper import _namespaces, needs_namespaces

pytestmark = needs_namespaces  # without them calls fail and say so

MOUNTED = "/runpod-volume"


@pytest.fixture(autouse=True)
def _nothing_on_the_machine() -> Iterator[None]:
    before = os.path.lexists(MOUNTED)
    yield
    assert os.path.lexists(MOUNTED) == before, "something was made in the machine's own root"


SHARED = f"""
import asyncio, os, sys
from pathlib import Path
from runpod_flash import Endpoint, NetworkVolume

volume = NetworkVolume(name="{{volume}}", size=10)

@Endpoint(name="{{volume}}-writer", cpu="cpu3c-1-2", volume=volume)
def write(text):
    with open("{MOUNTED}/notes", "a") as notes:
        notes.write(text)
    return os.environ["RUNPOD_VOLUME_ID"], os.getuid()

@Endpoint(name="{{volume}}-reader", cpu="cpu3c-1-2", volume=[volume])
class Reader:
    def __init__(self, name):
        self.path = Path("{MOUNTED}", name)
    def read(self):
        return self.path.read_text()

async def main():
    told, uid = await write("one ")
    assert told == volume.id is not None
    before = await Reader("notes").read()
    await write("two ")
    return before, await Reader("notes").read(), uid
"""


def test_endpoints_share_a_volume_at_the_same_time(shared_place: Place) -> None:
    script = SHARED.format(volume="notes") + "print(asyncio.run(main()))"
    done = shared_place.run_script(script).good()
    assert done.stdout.strip() == f"('one ', 'one two ', {os.getuid()})"


@pytest.mark.slow
@needs_root
def test_as_another_user_than_root() -> None:
    if not _namespaces(NOBODY):
        pytest.skip("this kernel gives namespaces to root only")
    with place_of_nobody() as (place, python):
        place.write("script.py", SHARED.format(volume="notes") + "print(asyncio.run(main()))")
        try:
            done = run_as_nobody(place, python, "script.py")
        finally:
            assert run_as_nobody(place, python, "-m", "flash_cli", "server", "stop").returncode == 0
    assert done.stdout.strip() == "('one ', 'one two ', 65534)", done.stderr


KEPT = f"""
import sys
from pathlib import Path
from runpod_flash import DataCenter, Endpoint, NetworkVolume
volumes = [NetworkVolume("us", size=10, datacenter=DataCenter.US_GA_2), NetworkVolume("eu", size=10)]

@Endpoint(name=sys.argv[1], datacenter=["US-GA-2", "EU-RO-1"], volume=volumes)
def keep(text):
    file = Path("{MOUNTED}/kept")
    before = file.read_text() if file.exists() else ""
    file.write_text(before + text)
    return before, __import__("os").environ["RUNPOD_DC_ID"]
print(*keep.remote(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_volume_outlives_endpoints_and_control_planes_and_each_region_has_its_own(place: Place) -> None:
    def kept(endpoint: str, text: str, **env: str) -> str:
        return place.run_script(KEPT, arguments=[endpoint, text], env=env).good().stdout.strip()

    assert kept("first", "a") == "US-GA-2"  # the one that is listed first
    with plane_client(place) as client:
        (endpoint,) = client.get("/v2/serverless").json()["endpoints"]
        client.delete(f"/v2/serverless/{endpoint['id']}").raise_for_status()
    place.flash("server", "stop").good()
    assert kept("second", "b", FLASH_DATACENTER="us_ga_2") == "a US-GA-2"
    place.flash("server", "stop").good()
    assert kept("second", "c", FLASH_DATACENTER="EU-RO-1") == "EU-RO-1"


FILLED = """
import os
from pathlib import Path
from runpod_flash import Endpoint, NetworkVolume, errors

models = NetworkVolume("models", size=10)
Path("weights/deep").mkdir(parents=True, exist_ok=True)
Path("weights/deep/a.bin").write_bytes(os.urandom(5_000_000))
models.put("weights", "/v1")

@Endpoint(name="filled", cpu="cpu3c-1-2", volume=models)
def seen():
    inside = NetworkVolume("models", size=10)
    Path("of-the-worker").write_text("w")
    inside.put("of-the-worker", "/from/the/worker")
    data = Path("/runpod-volume/v1/deep/a.bin").read_bytes()
    Path("/runpod-volume/reversed").write_bytes(data[::-1])
    Path("/runpod-volume/leak").symlink_to("/etc/passwd")
    return sorted(entry.path for entry in inside.list()), models.id, Path("/runpod-volume/from/the/worker").read_text()

found, known, text = seen.remote()
assert known == models.id, (known, models.id)
models.get("reversed", "back")
assert Path("back").read_bytes()[::-1] == Path("weights/deep/a.bin").read_bytes()
try:
    models.get("leak", "leaked")
except errors.ConfigError as error:
    refused = "leads out" in str(error)
models.delete("v1")
print(found, text, refused, Path("leaked").exists(), [entry.path for entry in models.list()])
"""


def test_what_is_put_is_seen_by_functions_and_what_they_write_is_fetched(shared_place: Place) -> None:
    done = shared_place.run_script(FILLED).good()
    assert done.stdout.strip() == (
        "['/from', '/leak', '/reversed', '/v1'] w True False ['/from', '/leak', '/reversed']"
    )


def test_commands_see_it_and_it_stays_while_they_have_it(shared_place: Place) -> None:
    shared_place.run_script("from runpod_flash import Endpoint\n@Endpoint(cpu='cpu3c-1-2')\ndef f(): pass\nf.remote()")
    body: dict[str, Any] = {
        "name": "pages", "type": "LOAD_BALANCER", "cpu": [{"id": "cpu3c", "vcpuCount": 1}],
        "command": f"cd {MOUNTED} && echo yes > page && echo yes > ping && exec python3 -m http.server $PORT",
        "scaling": {"type": "REQUEST_COUNT", "requestCount": 4}, "workers": {"min": 0, "max": 1},
    }  # fmt: skip
    wanted = {"name": "site", "size": 10, "dataCenter": "EU-RO-1"}
    with plane_client(shared_place) as client:
        volume = client.post("/v2/network-volumes", json=wanted).json()["id"]
        endpoint = client.post("/v2/serverless", json={**body, "networkVolumes": [volume]}).json()["id"]
        assert client.get(f"/lb/{endpoint}/page").text == "yes\n"
        assert client.delete(f"/v2/network-volumes/{volume}").status_code == 409
        client.delete(f"/v2/serverless/{endpoint}").raise_for_status()
        assert client.delete(f"/v2/network-volumes/{volume}").status_code == 204
    wait_until(lambda: not (shared_place.home / "volumes" / volume).exists(), 10, "the volume is gone")


PRYING = """
import os, sys
from pathlib import Path
from runpod_flash import Endpoint, NetworkVolume
home = sys.argv[1]
volume = NetworkVolume("same", size=10)

@Endpoint(name="pry", cpu="cpu3c-1-2", volume=volume)
def pry(word):
    Path("/runpod-volume/word").write_text(word)
    seen = [str(path) for path in Path(home).rglob("*") if path.name in ("word", "volume.json")]
    return os.listdir("/runpod-volume"), seen, Path(home, "volumes").exists()
print(pry.remote(sys.argv[2]))
"""


@pytest.mark.slow
def test_users_of_a_server_have_volumes_of_their_own_and_their_code_sees_no_others(place: Place) -> None:
    server = ListeningPlane.start(place)
    keys = {user: server.key(user) for user in ("alice", "bob")}
    for user, key in keys.items():
        done = place.run_script(PRYING, arguments=[str(place.home), user], env=server.sdk(key)).good()
        assert done.stdout.strip() == "(['word'], [], False)"
    with server.client(keys["alice"]) as alice, server.client(keys["bob"]) as bob:
        ids = [user.get("/v2/network-volumes").json()["networkVolumes"][0]["id"] for user in (alice, bob)]
        words = [
            user.get(f"/flash/v1/volumes/{volume}/file", params={"path": "word"}).text
            for user, volume in zip((alice, bob), ids, strict=True)
        ]
        assert words == ["alice", "bob"]
        assert bob.get(f"/flash/v1/volumes/{ids[0]}/files").status_code == 404
