"""PodTemplate: its fields, what is refused, and what becomes of it in a body."""

from dataclasses import dataclass
from typing import Any

import pytest

from runpod_flash.errors import ConfigError, UnknownOption
from runpod_flash.options import check
from runpod_flash.spec import to_body
from runpod_flash.template import PodTemplate


@dataclass
class Pair:
    """As the original's own class of variables."""

    key: str
    value: str


def body(template: PodTemplate, **options: Any) -> dict[str, Any]:
    return to_body(check({"name": "x", "template": template, **options}), default_queue_delay=0.0)


def test_defaults_are_those_of_the_original() -> None:
    template = PodTemplate()
    assert (template.containerDiskInGb, template.env, template.config, template.advancedStart) == (64, (), {}, False)
    texts = ("name", "imageName", "containerRegistryAuthId", "dockerArgs", "startScript", "ports", "readme")
    assert {getattr(template, name) for name in texts} == {""}
    assert repr(template) == "PodTemplate()"


@pytest.mark.parametrize(
    "env",
    [
        [{"key": "A", "value": "1"}, {"key": "B", "value": "2"}],
        [Pair("A", "1"), Pair("B", "2")],
        [("A", "1"), {"key": "B", "value": "2"}],
        {"A": "1", "B": "2"},
    ],
)
def test_forms_of_variables(env: Any) -> None:
    template = PodTemplate(env=env)
    assert template.env == (("A", "1"), ("B", "2"))
    assert body(template, env={"B": "3", "C": "4"})["env"] == {"A": "1", "B": "3", "C": "4"}
    assert "'1'" not in repr(template)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dockerargs": "x"}, "PodTemplate has no field dockerargs=; did you mean dockerArgs="),
        ({"zzzz": "x"}, "there are name, imageName"),
        ({"containerDiskInGb": 0}, "containerDiskInGb= of a PodTemplate is 0; it must be a whole number from 1"),
        ({"containerDiskInGb": True}, "containerDiskInGb="),
        ({"dockerArgs": ["a"]}, "dockerArgs= of a PodTemplate is \\['a'\\]; it must be text"),
        ({"startScript": "a\0b"}, "startScript="),
        ({"ports": "8000"}, "ports= of a PodTemplate is '8000'; it must be ports with their kind"),
        ({"ports": "80/http,99999/tcp"}, "ports="),
        ({"env": "A=1"}, "env= of a PodTemplate is 'A=1'; it must be a list of objects"),
        ({"env": [{"key": "A"}]}, "env= of a PodTemplate has the variable None"),
        ({"env": [{"key": "A=B", "value": "1"}]}, "has the variable 'A=B'"),
        ({"env": {"A": 1}}, "has the variable 'A'; .* both text"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        PodTemplate(**fields)
    assert isinstance(caught.value, UnknownOption) is ("has no field" in str(caught.value))


def test_it_is_frozen_and_equal_ones_are_equal() -> None:
    template = PodTemplate(dockerArgs="a")
    with pytest.raises(AttributeError, match="dockerArgs of a PodTemplate cannot be changed"):
        template.dockerArgs = "b"
    assert template == PodTemplate(dockerArgs="a", readme="only words")
    assert hash(template) == hash(PodTemplate(dockerArgs="a"))
    assert template != PodTemplate(dockerArgs="b")


def test_its_fields_in_a_body() -> None:
    template = PodTemplate(
        dockerArgs="--fast", startScript="echo", ports="8000/http, 22/tcp", containerRegistryAuthId="c1",
        containerDiskInGb=30,
    )  # fmt: skip
    said = {
        "args": "--fast", "startScript": "echo", "ports": ["8000/http", "22/tcp"], "registry": "c1", "disk": 30,
    }  # fmt: skip
    assert said.items() <= body(template).items()
    plain = to_body(check({"name": "x"}), default_queue_delay=0.0)
    assert not set(said) & set(plain)
    assert body(PodTemplate()) == {**plain, "disk": 64}


@pytest.mark.parametrize(("cpu", "disk"), [("cpu3c-1-2", 10), ("cpu5c-2-4", 30), (["cpu5c-2-4", "cpu3g-1-4"], 10)])
def test_the_usual_disk_is_bounded_by_the_size(cpu: Any, disk: int) -> None:
    assert body(PodTemplate(), cpu=cpu)["disk"] == disk
    assert body(PodTemplate(containerDiskInGb=5), cpu=cpu)["disk"] == 5
    with pytest.raises(ConfigError, match=f"at most {disk} GB"):
        body(PodTemplate(containerDiskInGb=disk + 1), cpu=cpu)
