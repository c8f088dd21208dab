"""requirements.txt as pip reads it, and what cannot be kept is refused with words."""

from pathlib import Path

import pytest

from flash_cli.builds import requirement_files
from runpod_flash.errors import ConfigError
from tests.support.builds import write


def read(root: Path, text: str, **others: str) -> list[tuple[str, str]]:
    write(root, {"requirements.txt": text, **{name.replace("_", "."): content for name, content in others.items()}})
    return [(line.text, line.place) for line in requirement_files.read(root, {"INDEX_USER": "me"})]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert requirement_files.read(tmp_path, {}) == ()


def test_lines_as_pip_has_them(tmp_path: Path) -> None:
    text = (
        "\ufeff# a comment\n\nnumpy>=1.2  # why\nscipy \\\n  ==1.10\n-r other.txt\n"
        'uvloop; sys_platform != "win32"\nmine @ https://${INDEX_USER}@host/mine-1.whl#sha256=aa\n'
        "pinned==1.0 --hash=sha256:00\nRunpod_Flash>=1\n"
    )
    assert read(tmp_path, text, other_txt="pandas[io]\n") == [
        ("numpy>=1.2", "requirements.txt line 3"),
        ("scipy   ==1.10", "requirements.txt line 4"),
        ("pandas[io]", "other.txt line 1"),
        ('uvloop; sys_platform != "win32"', "requirements.txt line 7"),
        ("mine @ https://me@host/mine-1.whl#sha256=aa", "requirements.txt line 8"),
        ("pinned==1.0", "requirements.txt line 9"),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-e .", "editable"),
        ("--index-url https://x", "pip.conf"),
        ("-c bounds.txt", "bounds"),
        ("./wheels/a.whl", "is not there on the workers"),
        ("git+https://host/a.git", "name @ git"),
        ("num py", "no requirement"),
        ("-r gone.txt", "gone.txt cannot be read"),
        ("-r requirements.txt", "includes itself"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, f"numpy\n{line}\n")
