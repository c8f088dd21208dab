"""Network volumes as they are declared: what is allowed, what is refused and in which words."""

import copy
import pickle
import re
from typing import Any

import pytest

from runpod_flash import DataCenter, Endpoint, NetworkVolume
from runpod_flash.errors import ConfigError, UnknownOption
from runpod_flash.hardware import GpuGroup


def test_what_is_not_said_has_its_default() -> None:
    volume = NetworkVolume("models")
    assert (volume.name, volume.size, volume.datacenter) == ("models", 100, DataCenter.EU_RO_1)
    assert volume.dataCenterId is volume.datacenter
    assert (volume.id, volume.is_created) == (None, False)
    assert repr(volume) == "NetworkVolume('models', datacenter='EU-RO-1')"


@pytest.mark.parametrize("place", [DataCenter.US_GA_2, "US-GA-2", "us-ga-2", "us_ga_2", " US-GA-2 "])
@pytest.mark.parametrize("field", ["datacenter", "dataCenterId"])
def test_a_data_center_has_several_spellings(field: str, place: Any) -> None:
    options: dict[str, Any] = {field: place}
    assert NetworkVolume(name="models", size=10, **options).datacenter is DataCenter.US_GA_2


def test_one_that_is_there_needs_no_more_than_its_id() -> None:
    volume = NetworkVolume(id="agv6w2qcg7")
    assert (volume.id, volume.is_created, volume.datacenter) == ("agv6w2qcg7", True, None)
    assert repr(volume) == "NetworkVolume(id='agv6w2qcg7')"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "NetworkVolume needs name=, to be found or made by, or id= of one that is there"),
        ({"name": " "}, "name= is ' '; it must be text of 1 to 191 characters, not blank"),
        ({"name": ""}, "name= is ''"),
        ({"name": 5}, "name= is 5"),
        ({"name": "a\nb"}, "name= is 'a\\nb'"),
        ({"id": ""}, "id= is ''"),
        ({"name": "m", "size": 9}, "size= is 9; it must be a whole number from 10 to 4096 (GB)"),
        ({"name": "m", "size": 4097}, "size= is 4097"),
        ({"name": "m", "size": True}, "size= is True"),
        ({"name": "m", "size": "100"}, "size= is '100'"),
        ({"name": "m", "datacenter": "US-GA-3"}, "datacenter= is 'US-GA-3'; it must be a DataCenter or one of US-CA-2"),
        ({"name": "m", "datacenter": "US-GA-3"}, "did you mean 'US-GA-2'?"),
        ({"name": "m", "datacenter": 5}, "datacenter= is 5"),
        ({"name": "m", "dataCenterId": "nowhere"}, "dataCenterId= is 'nowhere'"),
        (
            {"name": "m", "datacenter": "EU-RO-1", "dataCenterId": "US-GA-2"},
            "datacenter= is EU-RO-1 and dataCenterId= is US-GA-2; give one of them",
        ),
    ],
)
def test_wrong_values_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        NetworkVolume(**options)


def test_unknown_options_are_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownOption, match=r"NetworkVolume has no option datacentre=; did you mean datacenter=\?"):
        NetworkVolume("m", datacentre="EU-RO-1")  # type: ignore[arg-type]
    with pytest.raises(UnknownOption, match=r"no option xyzzy=; there are name, id, size"):
        NetworkVolume("m", xyzzy=1)  # type: ignore[arg-type]
    assert NetworkVolume("m", datacenter="EU-RO-1", dataCenterId="eu-ro-1").datacenter is DataCenter.EU_RO_1


def test_it_is_the_same_by_name_and_data_center_or_id_whatever_its_size() -> None:
    volume = NetworkVolume("m", size=10)
    assert volume == NetworkVolume("m", size=20)
    assert hash(volume) == hash(NetworkVolume("m", size=20))
    assert volume not in (NetworkVolume("n"), NetworkVolume("m", datacenter="US-GA-2"), NetworkVolume(id="m"), "m")
    assert NetworkVolume(id="x") == NetworkVolume("other", id="x")
    assert pickle.loads(pickle.dumps(volume)) == copy.deepcopy(volume) == volume


def test_it_cannot_be_changed() -> None:
    volume = NetworkVolume("m")
    with pytest.raises(AttributeError, match="size of a volume cannot be changed after its declaration"):
        volume.size = 20


US, EU = NetworkVolume("us", datacenter="US-GA-2"), NetworkVolume("eu", datacenter="EU-RO-1")


def test_an_endpoint_has_one_or_one_for_each_data_center() -> None:
    assert Endpoint("x").volume is None
    assert Endpoint("x", volume=US).volume == [US]
    assert Endpoint("x", volume=[US, EU], datacenter=["US-GA-2", "EU-RO-1"]).volume == [US, EU]
    assert Endpoint("x", volume=(US, EU)).spec.volume == (US, EU)
    assert Endpoint("x", volume=[US, NetworkVolume(id="known")], datacenter="US-GA-2").volume is not None
    assert (
        Endpoint("x", volume=[US]).spec == Endpoint("x", volume=NetworkVolume("us", size=20, datacenter="US-GA-2")).spec
    )
    assert Endpoint("x", volume=US).spec != Endpoint("x", volume=EU).spec


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        ("models", "volume= is 'models'; it must be a NetworkVolume, or a list of them, one for each data center"),
        ("models", "did you mean NetworkVolume(name='models')?"),
        (
            [],
            "volume= is []; it must be a NetworkVolume, or a list of them, one for each data center, that is not empty",
        ),
        ([US, "eu"], "volume[1]= is 'eu'; it must be a NetworkVolume; did you mean NetworkVolume(name='eu')?"),
        ([US, None], "volume[1]= is None"),
        (5, "volume= is 5; it must be a NetworkVolume"),
        (
            [US, NetworkVolume("other", datacenter="US-GA-2")],
            "volume= has NetworkVolume('us', datacenter='US-GA-2') and NetworkVolume('other', datacenter='US-GA-2'), "
            "both in US-GA-2",
        ),
    ],
)
def test_what_is_no_volume_is_named(volume: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        Endpoint("x", gpu=GpuGroup.ANY, volume=volume)


def test_a_volume_outside_of_the_endpoint_s_data_centers_is_refused() -> None:
    said = (
        "volume= is NetworkVolume('us', datacenter='US-GA-2'), in US-GA-2, but datacenter= is EU-RO-1, US-CA-2, where"
    )
    with pytest.raises(ConfigError, match=re.escape(said)):
        Endpoint("x", volume=US, datacenter=["EU-RO-1", "US-CA-2"])
