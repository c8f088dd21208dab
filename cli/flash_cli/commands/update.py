"""`flash update`: a newer version of this package, from a source that is ours."""

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import uv
from packaging.version import InvalidVersion, Version

from flash_cli import console
from flash_cli.updating import installation, offers, sources
from flash_cli.updating.installation import NAME, Installation
from flash_cli.updating.offers import Offer
from runpod_flash import package_index, settings
from runpod_flash.errors import ConfigError
from runpod_flash.release import package_folders
from runpod_flash.settings import Settings
from worker_runtime.install import index_environment

_CHECK_S = 60.0


def update(version: str | None, source: str | None) -> None:
    """Install another version into the environment that runs this: the one that is named, else the newest.

    `source`: where from; None: where this one is from.

    Raises:
        ConfigError: no source is known, it offers nothing of ours, or this is no installation that can be updated.
        BackendUnavailable: the source cannot be reached.
    """
    chosen = settings.load()
    wanted = _wanted(version)
    here = installation.found(chosen.home)
    place = source or here.source
    if place is None:
        raise ConfigError(
            f"this {NAME} does not say where it is from, and a package of this name on an index may be another "
            f"program. Name a source: flash update --from SOURCE, which is {sources.FORMS}"
        )
    with tempfile.TemporaryDirectory(prefix="flash-update-") as folder:
        wheel = sources.fetched(place, wanted, Path(folder), _environment(chosen))
        offer = offers.looked_at(wheel, place, platform.python_version())
        if _is_news(here, offer, wanted, place):
            console.note(f"installing {NAME} {offer.version} from {place} into {here.kind}")
            _install(here, offer, chosen)
            installation.note_source(chosen.home, _absolute(place))
            _check(here, offer)
            console.say(f"{NAME} {here.version} is now {offer.version}")


def _wanted(version: str | None) -> Version | None:
    try:
        return Version(version) if version is not None else None
    except InvalidVersion:
        raise ConfigError(f"--version is {version!r:.80}; it must be a version, like 2.1.0") from None


def _is_news(here: Installation, offer: Offer, wanted: Version | None, place: str) -> bool:
    """Whether it is to be installed. Raises ConfigError where it is not what was wanted, or older unasked."""
    now = Version(here.version)
    if wanted is not None and offer.version != wanted:
        raise ConfigError(f"{place} offers {NAME} {offer.version}, not {wanted}; nothing was installed")
    if offer.version < now and wanted is None:
        raise ConfigError(
            f"{place} offers {NAME} {offer.version}, older than {now}; to go back say --version {offer.version}"
        )
    if offer.version == now and offer.content == offers.content_of(package_folders()[0]):
        console.say(f"{NAME} {now} is what {place} offers; there is nothing to do")
        return False
    return True


def _install(here: Installation, offer: Offer, chosen: Settings) -> None:
    """Install the wheel that was looked at, and what it needs from where pip is set to take packages."""
    command = [
        uv.find_uv_bin(), "pip", "install", "--quiet", "--python", here.python,
        "--reinstall-package", NAME, str(offer.wheel),
    ]  # fmt: skip
    env = _environment(chosen)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise ConfigError(f"{NAME} {offer.version} could not be installed; uv says:\n{done.stderr.strip()}")


def _environment(chosen: Settings) -> dict[str, str]:
    """What programs start with that fetch and build: packages come from where pip is set to take them."""
    return {**chosen.environ, **index_environment(package_index.read(chosen.environ, Path(sys.prefix)))}


def _check(here: Installation, offer: Offer) -> None:
    """Start the new one once."""
    command = [here.python, "-P", "-m", "flash_cli", "--version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CHECK_S, check=False)
        said = done.stdout.strip() if done.returncode == 0 else done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if said != f"flash {offer.version}":
        raise ConfigError(f"{NAME} {offer.version} is installed and does not start as it should; it says:\n{said}")


def _absolute(place: str) -> str:
    return place if "://" in place or place.startswith(sources.GIT) else str(Path(place).expanduser().absolute())
