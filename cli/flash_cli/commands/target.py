"""`flash target`: which platform calls go to, when the environment does not say it."""

import typer

from flash_cli import console, plane, target_key
from runpod_flash import settings, targets
from runpod_flash.errors import ConfigError
from runpod_flash.settings import Settings
from runpod_flash.targets import LOCAL, Targets


def use(target: str, *, key: str | None, key_stdin: bool, check: bool) -> None:
    """Note where calls go: LOCAL, a URL or the name of one that is noted, with the key for it.

    Raises:
        ConfigError: `target` is none of them, or the file cannot be written.
        BackendUnavailable, AuthError, BackendError: it does not answer, refuses the key, is no platform.
    """
    chosen = settings.load()
    noted = targets.read(chosen.home)
    if target == LOCAL:
        targets.write(chosen.home, noted.using_local())
        console.say("calls go to this machine")
    else:
        url = noted.resolved(target)
        found = _checked_key(chosen, noted, url, key, key_stdin=key_stdin, check=check)
        targets.write(chosen.home, noted.using(url, found))
        console.say(f"calls go to {url}" + ("" if found else ", without a key"))
        if found:
            target_key.warn_of_plain_http(url)
    warn_of_variable(chosen)


def add(url: str, *, name: str | None, key: str | None, key_stdin: bool, check: bool) -> None:
    """Note a platform and the key for it, and leave where calls go as it is. Raises as `use`."""
    chosen = settings.load()
    noted = targets.read(chosen.home)
    url = targets.normalized(url)
    noted.adding(url, None, name)  # the name is looked at before anybody is asked
    found = _checked_key(chosen, noted, url, key, key_stdin=key_stdin, check=check)
    targets.write(chosen.home, noted.adding(url, found, name))
    console.say(
        f"{url} is noted" + ("" if found else ", without a key") + f"; choose it: flash target use {name or url}"
    )
    if found:
        target_key.warn_of_plain_http(url)


def remove(target: str) -> None:
    """Forget a platform and its key. Raises ConfigError where it is not noted."""
    chosen = settings.load()
    noted = targets.read(chosen.home)
    url = noted.resolved(target)
    if noted.find(url) is None:
        listed = ", ".join(each.name or each.url for each in noted.known) or "none"
        raise ConfigError(f"{url} is not noted; noted are: {listed}")
    targets.write(chosen.home, noted.removing(url))
    console.say(f"{url} is forgotten" + ("; calls go to this machine" if noted.current == url else ""))


def list_all(*, as_json: bool) -> None:
    """Show what is noted; keys are not shown. Raises ConfigError where the file cannot be read."""
    chosen = settings.load()
    noted = targets.read(chosen.home)
    if as_json:
        known = [{"url": each.url, "name": each.name, "has_key": each.key is not None} for each in noted.known]
        console.data({"current": chosen.target, "chosen": noted.current, "targets": known})
        return
    keys = [(each.url, each.name or "-", "noted" if each.key else "none") for each in noted.known]
    rows = [(LOCAL, "-", "-"), *keys]
    marked = [("*" if url == chosen.target else "", url, name, key) for url, name, key in rows]
    console.table(("", "TARGET", "NAME", "KEY"), marked)


def show() -> None:
    """Show where calls go, and why. Raises ConfigError where a setting or the file cannot be read."""
    chosen = settings.load()
    console.say(f"{chosen.target} ({_why(chosen)})")
    if chosen.target.startswith("http"):
        console.say(f"key: from {chosen.api_key_from}" if chosen.api_key else "key: none")
    if (kept := chosen.runpod_key()) is not None:
        console.note(f"note: there is a key for Runpod's cloud, from {kept[1]}; calls cannot go there yet")


def warn_of_variable(chosen: Settings) -> None:
    """Say that the environment chooses another target, where it does."""
    if given := chosen.environ.get("FLASH_TARGET"):
        console.say(f"warning: FLASH_TARGET is set to {given}, which goes before this as long as it is set")


def key() -> None:
    """Print the key for where calls go, for use in other commands.

    Raises:
        ConfigError: there is none.
    """
    chosen = settings.load()
    found = chosen.api_key if chosen.target.startswith("http") else plane.state_folder(chosen).read_key()
    if not found:
        where = f"{chosen.target}; say `flash target use`" if chosen.target.startswith("http") else "this machine yet"
        raise ConfigError(f"there is no key for {where}")
    console.say(found)


def _why(chosen: Settings) -> str:
    if chosen.environ.get("FLASH_TARGET"):
        return "FLASH_TARGET"
    return str(targets.path_of(chosen.home)) if chosen.target_chosen else "nothing else was chosen"


def _checked_key(
    chosen: Settings, noted: Targets, url: str, key: str | None, *, key_stdin: bool, check: bool
) -> str | None:
    """The key to use: given, noted before, or asked for where a person is there. None: without one."""
    if key is not None and key_stdin:
        raise typer.BadParameter("give the key by --key or by --key-stdin, not by both")
    known = noted.find(url)
    if key is None and not key_stdin and known is not None and known.key is not None:
        found, source = known.key, str(targets.path_of(chosen.home))
    else:
        found, source = target_key.given(url, key, key_stdin=key_stdin) or ("", "")
    if check:
        target_key.check(url, found or None, source, way_out="; --no-check notes it all the same")
    return found or None
