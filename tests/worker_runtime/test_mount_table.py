"""The paths at which a folder can be seen: over made-up tables and this machine's own."""

import pytest

from worker_runtime import mount_table
from worker_runtime.mount_table import Mount


def mount(device: str, root: str, path: str) -> Mount:
    return Mount(device, root, path, 0)


ROOT = mount("8:1", "/", "/")


def test_a_line_of_the_kernel_is_read() -> None:
    line = r"36 35 98:0 /mnt\0401 /mnt/a\134b ro,nosuid,noatime shared:1 - ext3 /dev/root rw,errors=continue"
    assert mount_table.read(line) == [Mount("98:0", "/mnt 1", "/mnt/a\\b", 1 | 2 | 0x400)]


def test_this_machine_has_a_root() -> None:
    assert "/" in [mount.path for mount in mount_table.read()]


@pytest.mark.parametrize(
    ("folder", "others", "expected"),
    [
        ("/a/b", [], []),
        ("/a/b", [mount("8:2", "/", "/x")], []),
        ("/a/b", [mount("8:1", "/", "/x")], ["/x/a/b"]),
        ("/a/b", [mount("8:1", "/a", "/x")], ["/x/b"]),
        ("/a/b", [mount("8:1", "/a/b", "/x")], ["/x"]),
        ("/a/b", [mount("8:1", "/a/b/c", "/x")], ["/x"]),
        ("/a/b", [mount("8:1", "/a/bc", "/x")], []),
        ("/a/b", [mount("8:1", "/a/b/c", "/a/b/d")], []),
        ("/a/b", [mount("8:2", "/", "/a"), mount("8:2", "/b", "/x")], ["/x"]),
        ("/a/b", [mount("8:2", "/vol", "/a"), mount("8:2", "/", "/x")], ["/x/vol/b"]),
        ("/a", [mount("8:2", "/vol", "/a"), mount("8:2", "/", "/x")], ["/x/vol"]),
        ("/", [mount("8:1", "/", "/x")], []),
    ],
)
def test_where_else_a_folder_can_be_seen(folder: str, others: list[Mount], expected: list[str]) -> None:
    assert mount_table.other_places(folder, [ROOT, *others]) == expected


def test_the_outermost_of_some_paths() -> None:
    paths = ["/a/b", "/a-b", "/a", "/c/d", "/a", "/a/b/c", "/c/de"]
    assert mount_table.outermost(paths) == ["/a", "/a-b", "/c/d", "/c/de"]
    assert mount_table.outermost([]) == []
    assert mount_table.outermost(["/a", "/"]) == ["/"]
