"""Every way to write an option wrong, and what the message says."""

import string
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement

from runpod_flash.endpoint import Endpoint
from runpod_flash.errors import ConfigError, UnknownOption
from runpod_flash.hardware import (
    CpuInstanceType,
    CudaVersion,
    DataCenter,
    GpuGroup,
    GpuType,
    ServerlessScalerType,
    ServerlessType,
)
from runpod_flash.options import NAME_LIMIT, PYTHONS, check, check_requirements, nearest, of_kind
from runpod_flash.spec import EndpointSpec
from runpod_flash.template import PodTemplate

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHER = next(version for version in PYTHONS if version != HERE)

OPTIONS = [
    "name", "gpu", "cpu", "workers", "idle_timeout", "dependencies", "system_dependencies", "accelerate_downloads",
    "datacenter", "env", "gpu_count", "execution_timeout_ms", "flashboot", "scaler_type", "scaler_value",
    "min_cuda_version", "max_concurrency", "python_version", "retries", "image", "template", "preload",
]  # fmt: skip

WRONG = [
    ({"nmae": "x"}, "no option nmae=; did you mean name="),
    ({"worker": 1}, "did you mean workers="),
    ({"zzzzzz": 1}, "there are name, gpu, cpu"),
    ({"image": "a/b"}, "image= needs a name for the endpoint"),
    ({"name": "x", "image": "a b"}, "image= is 'a b'; it must be the name of a container image"),
    ({"name": "x", "image": "--privileged"}, "image= is '--privileged'"),
    ({"name": "x", "image": ""}, "image= is ''"),
    ({"name": "x", "image": "a", "dependencies": ["numpy"]}, "dependencies= has no effect with image="),
    ({"name": "x", "image": "a", "max_concurrency": 2}, "max_concurrency= has no effect with image="),
    ({"name": "x", "image": "a", "retries": 0}, "retries= has no effect with image="),
    ({"name": "x", "image": "a", "batch": (2, 10)}, "batch= has no effect with image="),
    ({"name": "x", "image": "a", "system_dependencies": ["ffmpeg"]}, "system_dependencies= has no effect with image="),
    ({"template": {"ports": "80/http"}}, "template= is .*must be a PodTemplate; did you mean PodTemplate\\(\\*\\*"),
    (
        {"cpu": ["cpu5c-1-2", "cpu3c-2-4"], "template": PodTemplate(containerDiskInGb=16)},
        "containerDiskInGb= is 16; it must be at most 15 GB with cpu= \\(cpu5c-1-2: 15, cpu3c-2-4: 20\\)",
    ),
    ({"gpu": "any", "cpu": "cpu3c-2-4"}, "gpu= and cpu= exclude each other"),
    ({"gpu": "RTX 4090"}, "gpu= is 'RTX 4090'.*did you mean 'NVIDIA GeForce RTX 4090'"),
    ({"gpu": "AMPERE24"}, "did you mean 'AMPERE_24'"),
    ({"gpu": []}, "gpu= is \\[\\]; it must be"),
    ({"gpu": 7}, "gpu= is 7; it must be"),
    ({"gpu": ["NVIDIA L4", None]}, "gpu= is None"),
    ({"cpu": "cpu3c-2-5"}, "cpu= is 'cpu3c-2-5'.*did you mean 'cpu3c-2-4'"),
    ({"cpu": []}, "cpu= is \\[\\]"),
    ({"cpu": GpuGroup.ANY}, "cpu= is <GpuGroup.ANY"),
    ({"workers": -1}, "workers= is -1; it must be a number of 0 or more"),
    ({"workers": (3, 1)}, "workers= is \\(3, 1\\).*did you mean \\(1, 3\\)"),
    ({"workers": (-1, 1)}, "workers="),
    ({"workers": True}, "workers= is True"),
    ({"workers": (False, True)}, "workers="),
    ({"workers": (1, 2, 3)}, "workers="),
    ({"workers": 1.5}, "workers="),
    ({"idle_timeout": 0}, "idle_timeout= is 0; it must be a whole number from 1 to 3600"),
    ({"idle_timeout": 3601}, "idle_timeout="),
    ({"idle_timeout": True}, "idle_timeout= is True"),
    ({"dependencies": "numpy"}, "dependencies= is 'numpy'; it must be a list.*did you mean \\['numpy'\\]"),
    ({"dependencies": [1]}, "dependencies="),
    ({"dependencies": ["numpy=1"]}, "dependencies= is 'numpy=1'.*did you mean 'numpy==1'"),
    ({"dependencies": ["git+https://host/x.git"]}, "did you mean 'name @ git"),
    ({"dependencies": ["-r requirements.txt"]}, "dependencies= is '-r requirements.txt'"),
    ({"dependencies": [""]}, "dependencies= is ''"),
    ({"system_dependencies": ["; rm -rf /"]}, "system_dependencies= is '; rm -rf /'"),
    ({"system_dependencies": ["--yes"]}, "system_dependencies= is '--yes'"),
    ({"preload": "torch"}, "preload= is 'torch'; it must be a list .*did you mean \\['torch'\\]"),
    ({"preload": [1]}, "preload= is \\[1\\]; it must be a list of names of modules"),
    ({"preload": ["numpy", ""]}, "preload= is ''; it must be names of modules as in an import.*'PIL.Image'$"),
    ({"preload": ["scikit-learn"]}, "preload= is 'scikit-learn'.*did you mean scikit_learn\\?$"),
    ({"preload": ["torch>=2"]}, "did you mean torch\\?$"),
    ({"preload": ["PIL..Image"]}, "preload= is 'PIL..Image'.*did you mean PIL.Image\\?$"),
    ({"preload": ["import"]}, "preload= is 'import'; it must be names of modules as in an import.*'PIL.Image'$"),
    ({"name": "x", "image": "a", "preload": ["torch"]}, "preload= has no effect with image="),
    ({"accelerate_downloads": 1}, "accelerate_downloads= is 1; it must be True or False"),
    ({"flashboot": "yes"}, "flashboot="),
    ({"datacenter": "EU-RO-2"}, "datacenter= is 'EU-RO-2'.*did you mean 'EU-RO-1'"),
    ({"datacenter": 5}, "datacenter= is 5"),
    ({"datacenter": "US-CA-2", "cpu": "cpu3c-2-4"}, "datacenter= is 'US-CA-2'; it must be EU-RO-1 for a cpu= endpoint"),
    ({"env": {"PORT": 8080}}, "env= gives 'PORT' a value of type int"),
    ({"env": {"A=B": "c"}}, "env= is 'A=B'"),
    ({"env": {1: "c"}}, "env= is 1"),
    ({"env": ["A=b"]}, "env= is \\['A=b'\\]; it must be a dict"),
    ({"gpu_count": 0}, "gpu_count= is 0; it must be a whole number of 1 or more"),
    ({"execution_timeout_ms": -1}, "execution_timeout_ms= is -1"),
    ({"execution_timeout_ms": 1.5}, "execution_timeout_ms="),
    ({"scaler_type": "QUEUE"}, "scaler_type= is 'QUEUE'.*did you mean 'QUEUE_DELAY'"),
    ({"scaler_value": -1}, "scaler_value= is -1"),
    ({"scaler_value": float("nan")}, "scaler_value= is nan"),
    ({"scaler_value": 0.1}, "scaler_value= is 0.1; it must be 0 or at least 0.5"),
    ({"scaler_value": 1.5, "scaler_type": "REQUEST_COUNT"}, "whole number of 1 or more with REQUEST_COUNT"),
    ({"min_cuda_version": "12.11"}, "min_cuda_version= is '12.11'.*did you mean '12.1'"),
    ({"min_cuda_version": 12.8}, "min_cuda_version= is 12.8.*did you mean '12.8'"),
    ({"max_concurrency": 0}, "max_concurrency= is 0"),
    ({"retries": -1}, "retries= is -1"),
    ({"retries": True}, "retries= is True"),
    ({"python_version": "2.7"}, "python_version= is '2.7'; it must be one of '3.11', '3.12', '3.13'"),
    ({"name": ""}, "name= is ''"),
    ({"name": "a/b"}, "name= is 'a/b'"),
    ({"name": "a\nb"}, "name="),
    ({"name": "x" * (NAME_LIMIT + 1)}, "name= is 'xxx"),
    ({"name": 5}, "name= is 5"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}") as caught:
        check(options)
    assert len(str(caught.value)) < 500


def test_very_many_calls_in_one_worker_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="max_concurrency=101 lets one worker run more than 100 calls") as caught:
        Endpoint(name="x", max_concurrency=101)
    assert caught[0].filename == __file__
    assert check({"max_concurrency": 100}).max_concurrency == 100  # warnings are errors here


def test_what_takes_requests_has_no_queue() -> None:
    spec = check({"name": "x", "image": "a"})
    assert of_kind(spec, ServerlessType.LB).kind is ServerlessType.LB
    delayed = check({"name": "x", "image": "a", "scaler_type": "QUEUE_DELAY"})
    assert of_kind(delayed, ServerlessType.QB) == delayed
    with pytest.raises(ConfigError, match="scaler_type= of endpoint 'x' is QUEUE_DELAY"):
        of_kind(delayed, ServerlessType.LB)


def test_an_unknown_option_is_a_type_error_too() -> None:
    with pytest.raises(UnknownOption) as caught:
        check({"gpus": "any"})
    assert isinstance(caught.value, TypeError)


RIGHT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"gpu": (GpuGroup.ANY,), "workers_min": 0, "workers_max": 1, "python_version": HERE, "retries": None}),
    ({"gpu": "any"}, {"gpu": (GpuGroup.ANY,)}),
    ({"gpu": "NVIDIA L4"}, {"gpu": (GpuType.NVIDIA_L4,)}),
    ({"gpu": "NVIDIA_L4"}, {"gpu": (GpuType.NVIDIA_L4,)}),
    ({"gpu": [GpuType.NVIDIA_L4, "AMPERE_48"]}, {"gpu": (GpuType.NVIDIA_L4, GpuGroup.AMPERE_48)}),
    ({"cpu": "cpu5c-4-8"}, {"cpu": (CpuInstanceType.CPU5C_4_8,), "gpu": ()}),
    ({"cpu": "CPU5C_4_8"}, {"cpu": (CpuInstanceType.CPU5C_4_8,)}),
    ({"cpu": [CpuInstanceType.CPU5C_4_8], "datacenter": "eu_ro_1"}, {"datacenter": (DataCenter.EU_RO_1,)}),
    ({"datacenter": [DataCenter.US_GA_2, "US-GA-2"]}, {"datacenter": (DataCenter.US_GA_2,)}),
    ({"workers": 4}, {"workers_min": 0, "workers_max": 4}),
    ({"workers": [1, 4]}, {"workers_min": 1, "workers_max": 4}),
    ({"workers": 0}, {"workers_max": 0}),
    ({"dependencies": ("a", "b[x] >=1 ; os_name=='x'")}, {"dependencies": ("a", "b[x] >=1 ; os_name=='x'")}),
    ({"dependencies": {"a"}}, {"dependencies": ("a",)}),
    ({"system_dependencies": ["libgl1-mesa-glx", "g++", "x:amd64=1.0~1"]}, {}),
    ({"preload": ("torch", "PIL.Image")}, {"preload": ("torch", "PIL.Image")}),
    ({"preload": []}, {"preload": ()}),
    ({"min_cuda_version": None}, {"min_cuda_version": None}),
    ({"min_cuda_version": "11.1"}, {"min_cuda_version": CudaVersion.V11_1}),
    ({"scaler_type": "REQUEST_COUNT"}, {"scaler_type": ServerlessScalerType.REQUEST_COUNT}),
    ({"scaler_value": 0}, {"scaler_value": 0}),
    ({"python_version": HERE}, {"python_version": HERE}),
    ({"python_version": OTHER}, {"python_version": OTHER}),
    ({"volume": None, "image": None, "template": None}, {"image": "", "template": None}),
    ({"name": "x", "image": "registry.example:5000/a/b:1.0"}, {"image": "registry.example:5000/a/b:1.0"}),
    ({"name": "x", "image": f"a/b@sha256:{'0' * 64}"}, {}),
    ({"cpu": "cpu5c-1-2", "template": PodTemplate()}, {"template": PodTemplate()}),
    ({"name": "01_01_gpu_worker"}, {"name": "01_01_gpu_worker"}),
    (dict.fromkeys(("name", "gpu", "cpu", "workers", "dependencies", "env", "retries")), {}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "fields"), RIGHT, ids=lambda value: str(value)[:40])
def test_accepted_forms(options: dict[str, Any], fields: dict[str, Any]) -> None:
    spec = check(options)
    assert {name: getattr(spec, name) for name in fields} == fields


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 4000) | st.floats() | st.text(max_size=8)
    | st.sampled_from([*GpuGroup, *GpuType, *CpuInstanceType, *DataCenter, "any", HERE, "cpu3c-2-4"]),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(OPTIONS), values, max_size=4))
def test_any_value_gives_a_whole_spec_or_a_config_error(options: dict[str, Any]) -> None:
    try:
        spec = check(options)
    except ConfigError:
        return
    assert isinstance(spec, EndpointSpec)
    assert bool(spec.gpu) != bool(spec.cpu)
    assert 0 <= spec.workers_min <= spec.workers_max
    assert hash(spec) == hash(check(options))


requirement_texts = st.one_of(
    st.text(string.ascii_letters + string.digits + " .-_[](),<>=!~;@'\"/:", max_size=24),
    st.builds(
        "".join,
        st.tuples(
            st.sampled_from(["numpy", "a.b", "A_b-c", "x"]),
            st.sampled_from(["", " ", "[e]", "[e,f]", " [ e , f ] ", "[]"]),
            st.sampled_from(["", "==1", ">=1,<2", "(>=1)", "~=1.0", "===x", "== 1.*", "!=1, <3", "()", "@ https://h/x.whl"]),
            st.sampled_from(["", " ; python_version<'3'", ";extra=='a'", " ; os_name == 'nt' and extra == \"b\""]),
        ),
    ),
)  # fmt: skip


@given(requirement_texts)
@example("numpy >=1 , <2")
@example("a_[b_]")
@example("pip @ https://host/pip.zip#sha1=da9234ee ; python_version < '3'")
def test_no_requirement_that_pip_takes_is_refused(text: str) -> None:
    try:
        Requirement(text)
    except InvalidRequirement:
        return
    assert check({"dependencies": [text]}).dependencies == (text,)


def test_the_whole_check_says_what_is_wrong() -> None:
    spec = check({"name": "x", "dependencies": ["numpy>=one.two.three"]})
    with pytest.raises(ConfigError, match=r"endpoint 'x' holds 'numpy>=one\.two\.three', which is no valid"):
        check_requirements(spec)
    check_requirements(check({"dependencies": ["numpy>=1"]}))


def test_nearest() -> None:
    assert nearest("dependancies", OPTIONS) == "dependencies"
    assert nearest("h100", [kind.value for kind in GpuType]) is not None
    assert nearest("qqqq", OPTIONS) is None
