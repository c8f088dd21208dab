"""What user code sees of the file system, though it tries hard: as root and as another user, shipped and as command."""

import asyncio
import ctypes
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.worker_runtime.scripted_plane import ROOT, Plane, by_name
from tests.worker_runtime.test_keeper import NOBODY, _namespaces, _python_for_nobody, needs_namespaces, root_only
from worker_runtime import mounts
from worker_runtime.privileges import KEPT

PRYING = Path(__file__).with_name("prying_code.py")

who = pytest.mark.parametrize("user", [None, pytest.param(NOBODY, marks=root_only)], ids=["self", "nobody"])
how = pytest.mark.parametrize("how", ["shipped", "command"])


class Scene:
    """Secrets in a hidden folder, as a hidden file and in another worker's; what nobody may change; a process outside.

    All may be read and changed by everybody, as far as the file system goes.
    """

    def __init__(self, folder: Path, outside: int) -> None:
        self.folder, self.outside = folder, outside
        self.hidden, self.private = folder / "hidden", folder / "workers"
        self.hidden_file, self.shared = folder / "tls" / "key.pem", folder / "above" / "shared"
        self.secrets = [self.hidden / "state" / "key", self.private / "w2" / "run" / "result", self.hidden_file]
        for path in (*self.secrets, self.shared / "code.py", self.shared / "deep" / "code.py"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("secret")
        for path in (self.shared.parent, self.shared, *self.shared.rglob("*")):
            path.chmod(0o777)
        self.own = self.private / "w1"
        self.own.mkdir(mode=0o777)
        self.own.chmod(0o777)
        (folder / "prying.py").write_bytes(PRYING.read_bytes())

    def settings(self, **more: Any) -> dict[str, Any]:
        """Of the launch: both hidden, and nothing goes on without."""
        return {
            "folder": str(self.own), "private": str(self.private), "must_isolate": True,
            "hidden": (str(self.hidden), str(self.hidden_file)), "readonly": (str(self.shared),), **more,
        }  # fmt: skip

    def question(self) -> list[Any]:
        """What the prying code is given."""
        handles = [handle_of(secret) for secret in self.secrets]
        return [[str(secret) for secret in self.secrets], handles, str(self.private), self.outside, str(self.shared)]

    def command(self, python: str) -> str:
        """The prying code as a program."""
        return f"exec {shlex.join([python, str(self.folder / 'prying.py'), json.dumps(self.question())])}"


def handle_of(path: Path) -> tuple[int, str]:
    """The kernel's handle of a file: (type, bytes)."""
    handle, mount = ctypes.create_string_buffer((128).to_bytes(4, sys.byteorder) + bytes(132)), ctypes.c_int()
    done = ctypes.CDLL(None).name_to_handle_at(-100, os.fsencode(path), handle, ctypes.byref(mount), 0)
    assert done == 0
    size, kind = (int.from_bytes(handle.raw[start : start + 4], sys.byteorder) for start in (0, 4))
    return kind, handle.raw[8 : 8 + size].hex()


@pytest.fixture
def scene(short_folder: Path) -> Iterator[Scene]:
    with subprocess.Popen(["sleep", "600"], env={"OUTSIDE": "1"}) as outside:
        try:
            yield Scene(short_folder, outside.pid)
            assert outside.poll() is None, "user code has killed a process outside"
        finally:
            outside.kill()


async def report_of(scene: Scene, how: str, user: int | None, **more: Any) -> dict[str, Any]:
    """Run the prying code in a worker."""
    python = sys.executable if user is None else _python_for_nobody()
    more = {"command": scene.command(python), **more} if how == "command" else more
    async with Plane(scene.folder, python=python, user=user, settings=scene.settings(**more)) as plane:
        if how == "command":
            gone, _ = await plane.until(lambda: of_type(plane, "gone"), "gone", 100)
            assert gone["reason"] == "exited with code 0", plane.lines("stderr")
            return dict(json.loads("".join(plane.lines())))
        code = by_name("prying_code:pry", more={"prying_code.py": PRYING.read_bytes()})
        found = await plane.call(code, *scene.question())
        assert isinstance(found, dict), found
        return found


def of_type(plane: Plane, kind: str) -> tuple[dict[str, Any], bytes] | None:
    return next(((header, body) for _, header, body in plane.frames if header["type"] == kind), None)


@needs_namespaces
@who
@how
def test_user_code_that_tries_hard_finds_nothing(scene: Scene, how: str, user: int | None) -> None:
    if user is not None and not _namespaces(user):
        pytest.skip("this kernel gives namespaces to root only")
    report = asyncio.run(report_of(scene, how, user))
    assert report["found"] == {}
    assert report["private"] == ["w1"]
    assert report["uid"] == (os.geteuid() if user is None else user)
    assert len(report["pids"]) <= 3
    left = 0 if report["uid"] else sum(1 << number for number in KEPT.values())
    assert int(report["rights"]["CapEff:"], 16) | left == left
    for secret in scene.secrets:
        assert secret.read_text() == "secret"
    assert sorted(path.name for path in scene.shared.rglob("*")) == ["code.py", "code.py", "deep"]


# ---- the covers, each by itself, in namespaces of a process of its own

FURNISHED = """
import os, socket, stat, sys
from worker_runtime import isolation, mounts, system
from worker_runtime.mounts import View
folder = sys.argv[1]
isolation.enter_namespaces()
system.mount(None, "/", None, system.REC | system.PRIVATE)
def furnished(view, look):
    sys.stdout.flush()
    if not os.fork():
        mounts.furnish(view)
        print(look())
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


def furnished(folder: Path, code: str) -> list[str]:
    """Run code that furnishes namespaces; gives the lines that it prints."""
    command = [sys.executable, "-c", FURNISHED + code, str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=30)
    return done.stdout.splitlines()


@needs_namespaces
@root_only
def test_what_is_hidden_is_hidden_at_its_other_paths_too(short_folder: Path) -> None:
    (short_folder / "a" / "state" / "deep").mkdir(parents=True)
    (short_folder / "a" / "state" / "deep" / "key").write_text("secret")
    for name in ("x", "y"):
        (short_folder / name).mkdir()
    code = """
system.mount(f"{folder}/a", f"{folder}/x", None, system.BIND)
system.mount(f"{folder}/a/state/deep", f"{folder}/y", None, system.BIND)
look = lambda: [os.listdir(f"{folder}/{place}") for place in ("a/state", "x/state", "x", "y")]
print(look())
furnished(View((f"{folder}/a/state",)), look)
"""
    before, after = furnished(short_folder, code)
    assert before == "[['deep'], ['deep'], ['state'], ['key']]"
    assert after == "[[], [], ['state'], []]"


@needs_namespaces
def test_a_file_is_hidden_at_its_other_paths_too(short_folder: Path) -> None:
    for name in ("a/key", "a/beside", "b", "x/y"):
        (short_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (short_folder / name).write_text(name)
    (short_folder / "link").symlink_to(short_folder / "a" / "key")
    code = """
system.mount(f"{folder}/a/key", f"{folder}/b", None, system.BIND)
system.mount(f"{folder}/a", f"{folder}/x", None, system.BIND)
look = lambda: [open(f"{folder}/{place}").read() for place in ("a/key", "a/beside", "b", "x/key", "x/beside", "link")]
print(look())
furnished(View((f"{folder}/link", f"{folder}/absent")), look)
"""
    before, after = furnished(short_folder, code)
    assert before == "['a/key', 'a/beside', 'a/key', 'a/key', 'a/beside', 'a/key']"
    assert after == "['', 'a/beside', '', '', 'a/beside', '']"
    assert (short_folder / "a" / "key").read_text() == "a/key"


WRITTEN = """
def written(*places):
    def look():
        found = []
        for place in places:
            try:
                open(f"{folder}/{place}/new", "w").close()
            except OSError as error:
                found.append(error.strerror)
            else:
                found.append("written")
        return found
    return look
"""


@needs_namespaces
def test_in_a_read_only_folder_the_workers_own_alone_can_be_changed(short_folder: Path) -> None:
    for name in ("code/deep", "code/w1", "code/w2", "code/mount", "code/empty", "elsewhere", "beside"):
        (short_folder / name).mkdir(parents=True)
    (short_folder / "link").symlink_to(short_folder / "code")
    places = "code", "code/deep", "code/w2", "code/mount", "elsewhere", "code/w1", "beside"
    code = f"""{WRITTEN}
system.mount("tmpfs", f"{{folder}}/code/mount", "tmpfs", system.NOSUID)
system.mount(f"{{folder}}/code/deep", f"{{folder}}/elsewhere", None, system.BIND)
own = f"{{folder}}/code/w1"
furnished(View(readonly=(f"{{folder}}/link", f"{{folder}}/absent", f"{{folder}}/code/deep"), own=own), written{places})
"""
    refused = "'Read-only file system'"
    assert furnished(short_folder, code) == [f"[{', '.join([refused] * 5)}, 'written', 'written']"]
    assert sorted(str(path.relative_to(short_folder)) for path in short_folder.rglob("new")) == [
        "beside/new",
        "code/w1/new",
    ]


@needs_namespaces
def test_of_a_private_folder_what_is_read_only_stays_but_not_what_shows_others(short_folder: Path) -> None:
    for name in ("home/code", "home/work/w1", "home/work/w2", "home/state"):
        (short_folder / name).mkdir(parents=True)
    code = f"""{WRITTEN}
home = f"{{folder}}/home"
furnished(View((), home, f"{{home}}/work/w1", readonly=(f"{{home}}/code", f"{{home}}/work")), lambda: (
    sorted(os.listdir(home)), os.listdir(f"{{home}}/work"),
    written("home", "home/code", "home/work", "home/work/w1")(),
))
"""
    refused = "'Read-only file system'"
    shown = f"(['code', 'work'], ['w1'], [{refused}, {refused}, {refused}, 'written'])"
    assert furnished(short_folder, code) == [shown]


@needs_namespaces
@pytest.mark.parametrize("strict", [True, False])
def test_folders_above_cannot_be_renamed_where_isolation_is_a_must(short_folder: Path, strict: bool) -> None:
    (short_folder / "a" / "b" / "code").mkdir(parents=True)
    code = f"""
def renamed():
    found = []
    for path in (f"{{folder}}/a/b/code", f"{{folder}}/a/b", f"{{folder}}/a"):
        try:
            os.rename(path, path + "2")
        except OSError:
            continue
        found.append(os.path.basename(path))
        os.rename(path + "2", path)
    return found
furnished(View(readonly=(f"{{folder}}/a/b/code",), own=folder, strict={strict}), renamed)
"""
    assert furnished(short_folder, code) == ["[]" if strict else "['b', 'a']"]


@needs_namespaces
def test_services_that_start_programs_cannot_be_reached_from_where_isolation_is_a_must(short_folder: Path) -> None:
    code = """
with socket.socket(socket.AF_UNIX) as server:
    server.bind(f"{folder}/docker.sock")
    server.listen()
    mounts._SERVICES = (f"{folder}/docker.sock", f"{folder}/absent.sock")
    def connect():
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(f"{folder}/docker.sock")
            except ConnectionRefusedError:
                return "refused"
            return "connected"
    print(connect())
    furnished(View(strict=True), connect)
"""
    assert furnished(short_folder, code) == ["connected", "refused"]


@needs_namespaces
@root_only
def test_disks_are_covered_and_other_devices_are_left(short_folder: Path) -> None:
    code = """
def kinds():
    found = []
    for place, folders, names in os.walk("/dev"):
        found += [os.stat(f"{place}/{name}").st_mode for name in names if os.path.exists(f"{place}/{name}")]
    return sum(map(stat.S_ISBLK, found)), os.path.exists("/dev/tty"), len(os.urandom(1))
furnished(View(), kinds)
"""
    assert furnished(short_folder, code) == ["(0, True, 1)"]


@needs_namespaces
@root_only
def test_terminals_of_others_are_not_there_and_own_ones_work(short_folder: Path) -> None:
    code = """
others = os.openpty()
def terminals():
    before = [name for name in os.listdir("/dev/pts") if name.isdecimal()]
    own, other_end = os.openpty()
    os.write(own, b"typed\\n")
    return before, os.ttyname(other_end), os.read(other_end, 100)
furnished(View(), terminals)
"""
    assert furnished(short_folder, code) == ["([], '/dev/pts/0', b'typed\\n')"]


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        *((f"/dev/{name}", True) for name in ("mem", "kmem", "sg0", "nvme0", "ng0n1", "nvme-fabrics", "bsg/0:0:0:0")),
        *((f"/dev/{name}", True) for name in ("vfio/12", "mapper/control", "raw/raw1", "input/event0")),
        *(
            (f"/dev/{name}", False)
            for name in ("null", "nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1")
        ),
        *((f"/dev/{name}", False) for name in ("dri/card0", "kfd", "infiniband/uverbs0", "fuse", "net/tun", "tty1")),
    ],
)
def test_which_character_devices_lead_past_all_files(path: str, raw: bool) -> None:
    assert bool(mounts._RAW_ACCESS.fullmatch(path)) is raw
