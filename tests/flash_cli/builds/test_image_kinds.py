"""What an image is asked for says whether it takes jobs or HTTP requests."""

from pathlib import Path

import pytest

from flash_cli.builds import image_kinds
from runpod_flash import PodTemplate, options
from runpod_flash.errors import ConfigError
from runpod_flash.hardware import ServerlessType
from tests.support.builds import write

LB, QB = ServerlessType.LB, ServerlessType.QB


def kind(folder: Path, *sources: str, template: PodTemplate | None = None) -> ServerlessType:
    files = {f"{index}.py": text for index, text in enumerate(sources)}
    write(folder, files)
    spec = options.check({"name": "llm", "image": "a/b:c", "template": template})
    return image_kinds.of_kind(spec, "llm", [folder / name for name in files]).kind


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (("llm = 1", "x = await llm.run({})"), QB),
        (("from a import llm\nasync def f(): return await llm.post('/x', {})",), LB),
        (("import lb\nlb.llm.get('/x')", "def f(:"), LB),
        (("other.get('/x')\nprint(llm.id)",), QB),
    ],
)
def test_it_is_read_off_from_the_files(tmp_path: Path, sources: tuple[str, ...], expected: ServerlessType) -> None:
    assert kind(tmp_path, *sources) is expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (PodTemplate(ports="8000/http"), LB),
        (PodTemplate(dockerArgs="--port $PORT"), LB),
        (PodTemplate(ports="22/tcp"), QB),
        (None, QB),
    ],
)
def test_where_nothing_is_asked_the_template_says_it(
    tmp_path: Path, template: PodTemplate | None, expected: ServerlessType
) -> None:
    assert kind(tmp_path, "llm = 1", template=template) is expected
    assert kind(tmp_path, "llm.run({})", template=template) is QB


def test_both_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"jobs \(runsync\) and for HTTP requests \(get\)"):
        kind(tmp_path, "llm.get('/x')", "llm.runsync({})")
