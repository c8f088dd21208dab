"""How plans look to people."""

from collections.abc import Iterator

from flash_cli.deploys.planning import About, Change, ChangeKind, Difference, Plan

_SHOWN = 12  # differences of one endpoint
_LONGEST = 60  # characters of a value

_WORDS = {
    ChangeKind.CREATE: ("+", "create"),
    ChangeKind.UPDATE: ("~", "change"),
    ChangeKind.ROLL: ("*", "roll"),
    ChangeKind.REMOVE: ("-", "remove"),
    ChangeKind.KEEP: ("=", "keep"),
    ChangeKind.LEFT: ("?", "left"),
}


def lines(plan: Plan) -> Iterator[str]:
    """A line for each endpoint, and below it what differs."""
    width = max((len(change.endpoint) for change in plan.changes), default=0)
    for change in plan.changes:
        sign, word = _WORDS[change.kind]
        yield f"  {sign} {word:<6}  {change.endpoint:<{width}}  {_why(change)}".rstrip()
        for difference in change.differences[:_SHOWN]:
            yield f"      {_said(difference)}"
        if (more := len(change.differences) - _SHOWN) > 0:
            yield f"      … and {more} more; --json shows all"


def _why(change: Change) -> str:
    if change.kind is ChangeKind.LEFT:
        return "is not in the code any more and stays; --prune removes it"
    if change.kind is ChangeKind.ROLL:
        return "new workers take the place of the old ones"
    if change.kind is ChangeKind.UPDATE:
        return "in place"
    return ""


def _said(difference: Difference) -> str:
    name, before, after = difference.name, difference.before, difference.after
    if difference.about is About.CODE:
        return f"{name} is {'new' if before is None else 'gone' if after is None else 'changed'}"
    if name.startswith("env."):
        verb = "is set" if before is None else "is taken away" if after is None else "changes"
        return f"variable {name.removeprefix('env.')} {verb}"
    return f"{name}: {_value(before)} -> {_value(after)}"


def _value(value: object) -> str:
    text = "none" if value is None else value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
