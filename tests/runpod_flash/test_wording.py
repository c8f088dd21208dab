"""Refusals say what was given and what is allowed; long values are cut."""

from runpod_flash.wording import nearest, refusal


def test_a_refusal_has_all_parts() -> None:
    assert str(refusal("size", 9, "10 or more")) == "size= is 9; it must be 10 or more"
    assert str(refusal("cpu", "cpu", "one", "'cpu3c-1-2'")).endswith("it must be one; did you mean 'cpu3c-1-2'?")
    assert str(refusal("name", "x" * 500, "short")) == f"name= is '{'x' * 78}…; it must be short"


def test_the_nearest_word_is_one_that_holds_the_given_or_looks_like_it() -> None:
    words = ["NVIDIA H100 PCIe", "NVIDIA L4", "datacenter"]
    assert nearest("h100", words) == "NVIDIA H100 PCIe"
    assert nearest("data_centre", words) == "datacenter"
    assert nearest("qqqq", words) is None
