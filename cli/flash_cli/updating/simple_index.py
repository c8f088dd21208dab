"""The few words of a package index that an update needs (PEP 503, PEP 691): which wheels there are, and one of them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import httpx
from packaging.version import Version

from flash_cli.updating.installation import NAME
from runpod_flash.errors import ConfigError

_JSON = "application/vnd.pypi.simple.v1+json"
_LIMIT = 100 * 1024**2


@dataclass(frozen=True, slots=True)
class File:
    """A file of an index: its URL and, where the index tells it, its sha256."""

    url: str
    sha256: str | None = None

    @classmethod
    def of_url(cls, url: str) -> "File":
        """As a link names it, the hash behind #."""
        plain, fragment = urldefrag(url)
        kind, _, value = fragment.partition("=")
        return cls(plain, value if kind == "sha256" else None)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])


def wheels(client: httpx.Client, index: str, version_of: Callable[[str], Version | None]) -> Mapping[Version, File]:
    """The wheels of our name that an index offers, by version; those that it withdrew are left out.

    Raises:
        httpx.HTTPError: it does not answer, or has no such package.
        ConfigError: it is no index.
    """
    page = f"{index.partition('#')[0].rstrip('/')}/{NAME}/"
    answer = client.get(page, headers={"Accept": f"{_JSON}, text/html;q=0.5"}).raise_for_status()
    base = str(answer.url)
    try:
        is_json = "json" in answer.headers.get("Content-Type", "")
        files = _of_json(answer.text, base) if is_json else _of_html(answer.text, base)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"{page} is no page of a package index ({error})") from error
    return {version: file for file in files if (version := version_of(file.name)) is not None}


def download(client: httpx.Client, file: File, folder: Path) -> Path:
    """Fetch a file, and hold it against its hash.

    Raises:
        httpx.HTTPError: it cannot be had.
        ConfigError: it is another one, or too large.
    """
    path = folder / Path(file.name).name
    digest, size = hashlib.sha256(), 0
    with client.stream("GET", file.url) as answer, path.open("wb") as target:
        answer.raise_for_status()
        for piece in answer.iter_bytes():
            size += len(piece)
            if size > _LIMIT:
                raise ConfigError(f"{file.url} is larger than {_LIMIT // 1024**2} MB; nothing was installed")
            digest.update(piece)
            target.write(piece)
    if file.sha256 is not None and digest.hexdigest() != file.sha256.lower():
        raise ConfigError(f"{file.url} is not the file that its index announces (sha256); nothing was installed")
    return path


def _of_json(text: str, base: str) -> list[File]:
    return [
        File(urljoin(base, each["url"]), each.get("hashes", {}).get("sha256"))
        for each in json.loads(text)["files"]
        if not each.get("yanked")
    ]


class _Links(HTMLParser):
    """The links of a page, but for those that were withdrawn."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a" and values.get("href") and "data-yanked" not in values:
            self.found.append(str(values["href"]))


def _of_html(text: str, base: str) -> list[File]:
    links = _Links()
    links.feed(text)
    return [File.of_url(urljoin(base, link)) for link in links.found]
