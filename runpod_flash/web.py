"""HTTP requests to load-balanced endpoints, as users make them: checked before anything is sent, and their answers."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from runpod_flash import form_data
from runpod_flash.errors import CallError

ANSWER_S: Final = 480.0
"""How long an answer is waited for by default, in seconds: two minutes for a worker, five and a half for its work."""

Parameter: TypeAlias = str | int | float | bool

_PATH_SAFE: Final = "/%:@!$&'()*+,;=~-._"
_SHOWN = 80  # characters of a given value that a message shows


@dataclass(frozen=True, slots=True)
class WebRequest:
    """One request. `target` is the path with its query, percent-encoded; `timeout_s` None: as long as it takes."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    timeout_s: float | None = ANSWER_S

    @property
    def is_safe(self) -> bool:
        """Whether making it twice does no harm, by the meaning of its method."""
        return self.method == "GET"

    def __str__(self) -> str:
        return f"{self.method} {self.target.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """What came back. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def is_good(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def value(self) -> Any:
        """The body: parsed where it is JSON, text where it is text, else bytes; None where it is empty."""
        kind, _, parameters = self.headers.get("content-type", "").partition(";")
        kind = kind.strip().lower()
        if not self.body:
            return None
        if kind == "application/json" or kind.endswith("+json"):
            try:
                return json.loads(self.body)
            except ValueError:
                return self.body.decode(errors="replace")  # it says that it is JSON, and is not
        if kind.startswith("text/"):
            return self.body.decode(_charset(parameters), errors="replace")
        return self.body


def request(
    method: str,
    path: str,
    data: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, Parameter | Sequence[Parameter]] | None = None,
    json: Any = None,
    timeout: float | None = ANSWER_S,
) -> WebRequest:
    """A checked request.

    Args:
        method: in capitals.
        path: begins with "/"; may have a query.
        data: bytes go as they are, a dict with bytes among its values as a form, all else as JSON.
        headers: in addition to the key, or instead of it.
        params: for the query; a list gives its name several times.
        json: a body that goes as JSON, as `data` does.
        timeout: seconds until the answer must be there; None: as long as the platform lets it take.

    Raises:
        CallError: something is of a wrong type, or cannot be sent.
    """
    if data is not None and json is not None:
        raise CallError(f"{method} {path!r:.80} got both data= and json=; a request has one body, so leave one out")
    sent, kind = _body(json, "json") if json is not None else _body(data, "data")
    target, fields = _target(method, path, params), _headers(headers)
    if kind is not None and "content-type" not in {name.lower() for name in fields}:
        fields["Content-Type"] = kind
    return WebRequest(method, target, fields, sent, seconds("timeout", timeout))


def seconds(option: str, value: float | None, least: float = 0.0) -> float | None:
    """A number of seconds that a user gave, or None. Raises CallError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf") or not value:
        allowed = f"a number of seconds, {f'{least:g} or more' if least else 'more than 0'}, or None"
        raise CallError(f"{option}= is {_shown(value)}; it must be {allowed}")
    return float(value)


def as_json(what: str, value: Any) -> bytes:
    """A value that a user gave as JSON. Raises CallError: it has no such form; the message names the part."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CallError(
            f"{what} cannot be sent as JSON: {error}; give dicts, lists, texts, finite numbers, booleans and None"
        ) from None


def _body(value: Any, option: str) -> tuple[bytes | None, str | None]:
    if value is None:
        return None, None
    if option == "data" and isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), "application/octet-stream"
    if option == "data" and form_data.has_files(value):
        return form_data.encode(value)
    return as_json(f"{option}=", value), "application/json"


def _target(method: str, path: Any, params: Any) -> str:
    if not isinstance(path, str) or not path.startswith("/"):
        near = f"; did you mean {'/' + path!r}?" if isinstance(path, str) and "://" not in path else ""
        raise CallError(
            f"the path of {method.lower()}() is {_shown(path)}; it must be a text that begins with '/'{near}"
        )
    plain, _, query = path.partition("?")
    try:
        queries = [text for text in (quote(query, safe=_PATH_SAFE + "?"), _query(params)) if text]
        return quote(plain, safe=_PATH_SAFE) + ("?" + "&".join(queries) if queries else "")
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise CallError(f"the path {_shown(path)} or params= cannot be sent as UTF-8: {error}") from None


def _query(params: Any) -> str:
    if params is None:
        return ""
    if not isinstance(params, Mapping):
        raise CallError(f"params= is {_shown(params)}; it must be a dict of names and values")
    pairs: list[tuple[str, str]] = []
    for name, value in params.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(name, str) or not isinstance(one, str | int | float):
                raise CallError(
                    f"params= has {_shown(name)}: {_shown(one)}; names are texts, values are texts, numbers, booleans "
                    "or lists of them"
                )
            pairs.append((name, str(one).lower() if isinstance(one, bool) else str(one)))
    return urlencode(pairs)


def _headers(headers: Any) -> dict[str, str]:
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise CallError(f"headers= is {_shown(headers)}; it must be a dict of names and values, both text")
    for name, value in headers.items():
        if not isinstance(name, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise CallError(f"headers= has the name {_shown(name)}; a name is a text of letters, digits and -")
        if not isinstance(value, str) or not value.isascii() or not (value.isprintable() or not value):
            raise CallError(f"headers= gives {name!r} a value that is no plain ASCII text of one line; encode it first")
    return dict(headers)


def _charset(parameters: str) -> str:
    found = re.search(r"charset=\"?([\w.:-]+)", parameters)
    name = found.group(1) if found else "utf-8"
    try:
        "".encode(name)
    except LookupError:
        return "utf-8"
    return name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
