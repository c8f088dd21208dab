"""Who may use the dev server."""

import pytest

from flash_cli.dev.guard import refusal


@pytest.mark.parametrize("name", ["localhost:8888", "127.0.0.1:8888", "[::1]:8888", "LOCALHOST", "app.localhost:1"])
def test_names_of_this_machine_are_answered(name: str) -> None:
    assert refusal(lambda header: name if header == "host" else "", "localhost") == ""


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8888", "", "127.0.0.1.evil.example", "10.0.0.1:8888"])
def test_other_names_are_not_answered_on_loopback(name: str) -> None:
    assert "--host 0.0.0.0" in refusal(lambda header: name if header == "host" else "", "localhost")
    assert refusal(lambda header: name if header == "host" else "", "0.0.0.0") == ""


@pytest.mark.parametrize(
    ("origin", "good"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1:8888", True),
        ("https://evil.example", False),
        ("null", False),
        ("http://localhost.evil.example", False),
    ],
)
def test_pages_of_other_machines_are_refused(origin: str, good: bool) -> None:
    sent = {"host": "localhost:8888", "origin": origin}
    assert (refusal(lambda name: sent.get(name, ""), "localhost") == "") is good


def test_a_server_for_others_answers_its_own_pages() -> None:
    own = {"host": "box.lan:8888", "origin": "http://box.lan:8888"}
    assert refusal(lambda name: own.get(name, ""), "0.0.0.0") == ""
    other = {"host": "box.lan:8888", "origin": "http://other.lan"}
    assert refusal(lambda name: other.get(name, ""), "0.0.0.0")


def test_requests_of_other_sites_without_an_origin_are_refused_unless_a_person_follows_a_link() -> None:
    image = {"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    link = {**image, "sec-fetch-mode": "navigate"}
    assert refusal(lambda name: image.get(name, ""), "localhost")
    assert refusal(lambda name: link.get(name, ""), "localhost") == ""
