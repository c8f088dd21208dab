"""`flash deploy` and what belongs to it, over a real control plane and real workers."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployments import SHOP, Dam, Load, Project
from tests.support.engines import IMAGE, stand_in
from tests.support.packages import make_slow_source
from tests.support.place import Place
from tests.support.plane_api import plane_client, plane_folder, plane_record
from tests.support.waiting import wait_until

VERSION_2 = SHOP.replace('"version": 1', '"version": 2')
API = """
    from runpod_flash import Endpoint

    api = Endpoint(name="api", cpu="cpu3c-1-2", workers=(1, 2))

    @api.get("/version")
    def version():
        return {"version": 1}
"""


def kinds(document: dict[str, Any]) -> dict[str, str]:
    return {change["endpoint"]: change["change"] for change in document["changes"]}


def test_from_code_to_an_answer(shared_place: Place) -> None:
    shop = Project.of(shared_place, "shop", work=SHOP)
    first = shop.flash("deploy").good()
    assert "deployed version 1 of shop/production" in first.stdout
    line = re.search(r"^  (curl .*)$", first.stdout, re.MULTILINE)
    assert line
    command = line[1].replace("$(flash target key)", shop.flash("target", "key").good().stdout.strip())
    called = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(called.stdout)["output"] == {"text": "TEXT", "version": 1}

    shop.write(work=VERSION_2)
    second = shop.json("deploy")
    assert (kinds(second), second["version"]) == ({"upper": "roll"}, 2)
    assert [each["name"] for each in second["changes"][0]["differences"]] == ["work.py"]
    assert [each["ok"] for each in second["smoke"]] == [True]
    upper = second["endpoints"][0]
    assert upper["id"] in first.stdout  # the same endpoint, and URL
    assert shop.call(upper, {"text": "a"}) == {"text": "A", "version": 2}
    shop.flash("app", "delete", "shop", "--yes").good()


@pytest.mark.slow
def test_there_and_back(place: Place) -> None:
    shop = Project.of(place, "shop", work=SHOP)
    assert kinds(shop.json("plan")) == {"upper": "create"}
    upper = shop.deploy()["upper"]
    same = shop.json("deploy")
    assert (kinds(same), same["version"], same["smoke"]) == ({"upper": "keep"}, 1, [])
    shop.write(work=VERSION_2)
    assert shop.flash("plan", "--exit-code").status == 3
    shop.deploy()

    assert "is at version 1" in shop.flash("rollback").good().stdout
    assert shop.call(upper, {"text": "a"}) == {"text": "A", "version": 1}
    shown = shop.flash("env", "get", "production").good().stdout
    assert all(text in shown for text in ("version 1, active", "version 2, rolled-back", upper["id"], upper["url"]))

    assert "is removed; the next `flash deploy`" in shop.flash("undeploy", "upper").good().stdout
    assert kinds(shop.json("plan")) == {"upper": "create"}
    assert shop.flash("undeploy", "upper").status == 1
    assert shop.flash("app", "delete", "shop").status == 1  # nobody is there to agree
    shop.flash("app", "delete", "shop", "--yes").good()
    assert shop.json("app", "list")["apps"] == []


@pytest.mark.slow
def test_what_cannot_be_deployed_changes_nothing(shared_place: Place) -> None:
    broken = Project.of(shared_place, "broken", work=SHOP, bad="from runpod_flash import Endpoint\n1 / 0\n")
    refused = broken.flash("deploy")
    assert refused.status == 1
    assert re.search(r"bad\.py: .*ZeroDivisionError", refused.stderr)
    assert "Traceback" not in refused.stderr
    empty = Project.of(shared_place, "empty", work="x = 1\n").flash("deploy")
    assert (empty.status, "no endpoints in" in empty.stderr) == (1, True)
    odd = broken.flash("deploy", "--app", "my shop")
    assert (odd.status, "did you mean 'my-shop'" in odd.stderr) == (1, True)
    absent = broken.flash("env", "get", "production")
    assert (absent.status, absent.stderr.startswith("error: there is no app 'broken'")) == (1, True)


@pytest.mark.slow
def test_stages_are_separate_and_what_left_the_code_stays_until_it_is_pruned(place: Place) -> None:
    shop = Project.of(place, "shop", work=SHOP, more=SHOP.replace("text.upper()", "text").replace("upper", "other"))
    staging, production = shop.deploy("--env", "staging"), shop.deploy("--env", "production")
    assert staging["upper"]["id"] != production["upper"]["id"]
    several = shop.flash("deploy")
    assert (several.status, "several environments: staging, production" in several.stderr) == (1, True)

    shop.write(work=VERSION_2)
    (shop.folder / "more.py").unlink()
    again = shop.json("deploy", "--env", "staging")
    assert kinds(again) == {"upper": "roll", "other": "left"}
    assert shop.call(staging["upper"], {"text": "a"})["version"] == 2
    assert shop.call(staging["other"], {"text": "a"})["version"] == 1
    assert shop.call(production["upper"], {"text": "a"})["version"] == 1
    assert "is not in the code any more" in shop.flash("plan", "--env", "staging").good().stdout

    asked = shop.flash("deploy", "--env", "staging", "--prune")
    assert (asked.status, "say --yes to agree" in asked.stderr) == (1, True)
    assert kinds(shop.json("deploy", "--env", "staging", "--prune", "--yes")) == {"upper": "keep", "other": "remove"}
    assert {each["name"] for each in shop.json("undeploy", "list", "--env", "staging")["endpoints"]} == {"upper"}
    assert len(shop.json("undeploy", "list")["endpoints"]) == 3
    shop.flash("undeploy", "--all", "--force").good()
    assert shop.json("undeploy", "list")["endpoints"] == []


@pytest.mark.slow
def test_under_load_no_request_fails_and_none_that_begins_later_gets_an_old_answer(place: Place) -> None:
    shop = Project.of(place, "shop", work=SHOP, api=API)
    there, switched = shop.deploy(), list[float]()
    with Load.on(place, there["upper"]["id"], there["api"]["id"]) as load:
        for version in (2, 3):
            shop.write(**{name: _of_version(text, version) for name, text in (("work", SHOP), ("api", API))})
            shop.deploy()
            switched.append(time.monotonic())
            wait_until(lambda since=switched[-1]: load.kinds_since(since) == {"job", "request"}, deadline_s=60)
    assert load.faults == []
    for asked in load.asked:
        least = 1 + sum(asked.began > moment for moment in switched)
        assert asked.version >= least, f"{asked} began after the deploy of version {least} had ended"
    for kind in ("job", "request"):
        assert {asked.version for asked in load.asked if asked.kind == kind} == {1, 2, 3}


def _of_version(text: str, version: int) -> str:
    return text.replace('"version": 1', f'"version": {version}')


@pytest.mark.slow
def test_what_shows_no_life_is_taken_back(place: Place) -> None:
    shop = Project.of(place, "shop", work=SHOP, api=API)
    there = shop.deploy()
    shop.write(work=SHOP.replace("def upper", "if 'shop' in __file__ or True:\n        RAISE\n    def upper"))
    lazily = (
        SHOP + "\n    import os\n    if os.environ.get('FLASH_RESOURCE_NAME'):\n        raise OSError('no licence')\n"
    )
    shop.write(work=lazily)
    failed = shop.flash("deploy")
    assert failed.status == 1
    assert "OSError: no licence" in failed.stderr
    assert "version 1 is back" in failed.stderr
    assert shop.call(there["upper"], {"text": "a"})["version"] == 1
    kept = shop.flash("deploy", "--no-rollback")
    assert (kept.status, "stays, as --no-rollback says" in kept.stderr) == (1, True)
    shop.write(work=VERSION_2)
    assert shop.call(shop.deploy()["upper"], {"text": "a"})["version"] == 2


@pytest.mark.slow
def test_an_upload_that_was_cut_goes_on(place: Place) -> None:
    shop = Project.of(place, "shop", work=SHOP.replace("return {", "open('big.bin')\n        return {"))

    (shop.folder / "big.bin").write_bytes(os.urandom(9_000_000))
    place.flash("server", "start").good()
    port, key = plane_record(place)["port"], (plane_folder(place) / "key").read_text().strip()
    with Dam.before(port, most=5_000_000) as dam:
        process = shop.start("deploy", FLASH_TARGET=dam.url, FLASH_API_KEY=key)
        assert dam.full.wait(60)
        process.kill()
        process.communicate()
    assert shop.json("app", "list")["apps"] != []  # the killed one could not tidy up
    with Dam.before(port, most=100_000_000) as dam:
        again = Project(place, shop.folder, {"FLASH_TARGET": dam.url, "FLASH_API_KEY": key})
        again.flash("deploy", "--no-smoke").good()
        assert 4_000_000 < dam.passed < 6_000_000  # the rest


@pytest.mark.slow
def test_of_two_deploys_at_once_one_is_refused_and_a_failed_install_changes_nothing(
    place: Place, tmp_path: Path
) -> None:
    shop = Project.of(place, "shop", work=SHOP)
    there = shop.deploy()
    source = make_slow_source(tmp_path, "slow-package", "1.0", tmp_path / "begun", tmp_path / "go")
    needs = VERSION_2.replace("workers=2", f"workers=2, dependencies=['slow-package @ {source.as_uri()}']")
    shop.write(work=needs)
    first = shop.start("deploy", "--no-deps")
    wait_until((tmp_path / "begun").exists, deadline_s=60)
    second = shop.flash("deploy", "--no-deps")
    assert (second.status, "is being changed by another deploy" in second.stderr) == (1, True)
    assert shop.call(there["upper"], {"text": "a"})["version"] == 1
    (tmp_path / "go").touch()
    stdout, stderr = first.communicate(timeout=90)
    assert first.returncode == 0, f"{stdout}\n{stderr}"
    assert shop.call(there["upper"], {"text": "a"})["version"] == 2

    shop.write(work=SHOP.replace("workers=2", "workers=2, dependencies=['no-such-package-of-flash==9']"))
    offline = Project(place, shop.folder, {"PIP_NO_INDEX": "1"})
    for arguments in ((), ("--no-deps",)):  # the resolver here, the installer there
        failed = offline.flash("deploy", *arguments)
        assert failed.status == 1
        assert "no-such-package-of-flash" in failed.stderr
        assert shop.call(there["upper"], {"text": "a"})["version"] == 2
    assert shop.json("env", "get", "production")["version"] == 2


@pytest.mark.slow
def test_a_first_deploy_that_fails_or_is_left_leaves_nothing(place: Place, tmp_path: Path) -> None:
    absent = SHOP.replace("workers=2", "dependencies=['no-such-package-of-flash==9']")
    failed = Project(place, Project.of(place, "bad", work=absent).folder, {"PIP_NO_INDEX": "1"})
    assert failed.flash("deploy", "--no-deps").status == 1
    source = make_slow_source(tmp_path, "slow-package", "1.0", tmp_path / "begun", tmp_path / "go")
    slow = SHOP.replace("workers=2", f"dependencies=['slow-package @ {source.as_uri()}']")
    left = Project.of(place, "left", work=slow)
    process = left.start("deploy", "--no-deps")
    wait_until((tmp_path / "begun").exists, deadline_s=60)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in stderr) == (130, False)
    assert left.json("app", "list")["apps"] == []


@pytest.mark.slow
def test_every_setting_arrives(place: Place, tmp_path: Path) -> None:
    text = """
        from runpod_flash import CpuInstanceType, Endpoint, GpuType, NetworkVolume, PodTemplate

        volume = NetworkVolume("models", size=20)

        @Endpoint(
            name="infer", gpu=GpuType.NVIDIA_L4, gpu_count=2, execution_timeout_ms=600_000, flashboot=False,
            workers=(0, 5), idle_timeout=7, volume=volume, env={"MODE": "x"}, min_cuda_version="12.4",
        )
        def infer():
            pass

        @Endpoint(name="counted", cpu="cpu3c-1-2", scaler_type="REQUEST_COUNT", scaler_value=3, workers=(0, 2))
        def counted():
            pass

        box = Endpoint(
            name="box", image="flash-test/worker:1", cpu="cpu5c-4-8", workers=(0, 2),
            template=PodTemplate(containerDiskInGb=50, dockerArgs="queue --fast"),
        )
    """
    folder = Project.of(place, "shop", work=text).folder
    with stand_in(tmp_path / "engine") as made:
        _check_settings(Project(place, folder, {**made.engine.env, "FLASH_FAKE_GPUS": "NVIDIA L4:24,NVIDIA L4:24"}))


def _check_settings(shop: Project) -> None:
    assert shop.json("plan")["newVolumes"] == ["models"]
    there = shop.deploy("--no-smoke")
    with plane_client(shop.place) as client:
        found = {name: client.get(f"/v2/serverless/{each['id']}").json() for name, each in there.items()}
        volumes = client.get("/v2/network-volumes").json()["networkVolumes"]
    infer, counted, box = found["infer"], found["counted"], found["box"]
    assert (infer["gpu"]["count"], infer["gpu"]["minCudaVersion"]) == (2, "12.4")
    assert infer["workers"] == {"min": 0, "max": 5, "idleTimeout": 7}
    assert (infer["timeout"], infer["flashboot"], infer["env"]) == (600_000, "OFF", {"MODE": "x"})
    assert infer["scaling"] == {"type": "QUEUE_DELAY", "queueDelay": 0}
    assert infer["networkVolumes"] == [volume["id"] for volume in volumes if volume["name"] == "models"]
    assert counted["scaling"] == {"type": "REQUEST_COUNT", "requestCount": 3}
    assert (box["image"], box["disk"], box["args"]) == (IMAGE, 50, "queue --fast")
    assert "models" in shop.flash("env", "get", "production").good().stdout
    shop.write(look="import work\nprint(work.volume.list.blocking())\n")
    env = {**shop.env, "FLASH_APP": "shop"}
    assert shop.place.run(["look.py"], env=env, cwd=shop.folder).good().stdout == "[]\n"
    (shop.folder / "look.py").unlink()
    assert shop.json("plan")["newVolumes"] == []
    assert set(kinds(shop.json("plan")).values()) == {"keep"}


@pytest.mark.slow
def test_a_preview_goes_by_itself_and_does_not_take_the_place_of_what_stays(place: Place) -> None:
    shop = Project.of(place, "shop", work=SHOP)
    shop.deploy()
    preview = shop.json("deploy", "--preview")
    assert (preview["stage"], bool(preview["expiresAt"])) == ("preview", True)
    assert shop.json("deploy")["stage"] == "production"  # the only one that stays
    refused = shop.flash("deploy", "--preview", "--env", "production")
    assert (refused.status, "is there to stay" in refused.stderr) == (1, True)
