"""A spec in the words of the API."""

from dataclasses import replace

from runpod_flash.hardware import GpuType, ServerlessScalerType, ServerlessType
from runpod_flash.options import check
from runpod_flash.spec import to_body
from runpod_flash.volumes import NetworkVolume


def test_all_keys_of_a_gpu_endpoint() -> None:
    spec = check({"name": "x", "gpu": GpuType.NVIDIA_L4, "workers": (1, 3), "env": {"A": "b"}, "datacenter": "EU-RO-1"})
    assert to_body(spec, default_queue_delay=0.0) == {
        "name": "x",
        "type": "QUEUE",
        "image": "runpod/flash",
        "gpu": {
            "pools": ["AMPERE_24"],
            "count": 1,
            "excludedTypes": ["NVIDIA RTX A5000", "NVIDIA GeForce RTX 3090"],
            "minCudaVersion": "12.8",
        },
        "workers": {"min": 1, "max": 3, "idleTimeout": 60},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.0},
        "env": {"A": "b"},
        "dataCenterIds": ["EU-RO-1"],
        "networkVolumes": [],
        "timeout": 0,
        "flashboot": "FLASHBOOT",
    }


def test_a_cpu_endpoint() -> None:
    body = to_body(check({"name": "x", "cpu": ["cpu3c-2-4", "cpu3g-1-4"]}), default_queue_delay=4.0)
    assert body["cpu"] == [{"id": "cpu3c", "vcpuCount": 2}, {"id": "cpu3g", "vcpuCount": 1}]
    assert body["image"] == "runpod/flash-cpu"
    assert "gpu" not in body
    assert body["scaling"]["queueDelay"] == 4.0


def test_volumes_go_by_their_ids_on_the_platform() -> None:
    spec = check({"name": "x", "volume": NetworkVolume("models")})
    assert to_body(spec, default_queue_delay=0.0, volume_ids=["v1"])["networkVolumes"] == ["v1"]


def test_a_named_scaler_wins_over_the_platforms_choice() -> None:
    chosen = to_body(check({"name": "x", "scaler_value": 8}), default_queue_delay=0.0)
    assert chosen["scaling"] == {"type": "QUEUE_DELAY", "queueDelay": 8}
    counted = to_body(check({"name": "x", "scaler_type": ServerlessScalerType.REQUEST_COUNT}), default_queue_delay=0.0)
    assert counted["scaling"] == {"type": "REQUEST_COUNT", "requestCount": 4}
    assert "idleTimeout" not in counted["workers"]  # the API refuses it there


def test_an_order_of_types_that_pools_do_not_say() -> None:
    body = to_body(check({"name": "x", "gpu": ["NVIDIA L4", "NVIDIA RTX A5000"]}), default_queue_delay=0.0)
    assert body["gpu"]["preferredTypes"] == ["NVIDIA L4", "NVIDIA RTX A5000"]
    assert body["gpu"]["pools"] == ["AMPERE_24"]


def test_an_image_and_its_kind() -> None:
    spec = check({"name": "x", "image": "a/b", "scaler_value": 8, "idle_timeout": 5})
    assert {**to_body(spec, default_queue_delay=0.0), "scaling": 0}.items() >= {"image": "a/b", "type": "QUEUE"}.items()
    balanced = to_body(replace(spec, kind=ServerlessType.LB), default_queue_delay=0.0)
    assert (balanced["type"], balanced["scaling"]) == ("LOAD_BALANCER", {"type": "REQUEST_COUNT", "requestCount": 8})
    assert balanced["workers"]["idleTimeout"] == 5


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(check({"name": "x", "env": {"TOKEN": "hunter2"}}))


def test_a_name_is_given_once() -> None:
    assert check({}).named("f").named("g").name == "f"
