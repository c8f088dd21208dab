"""What can go wrong on the wire. The SDK and the control plane translate these at their borders."""

_LONG, _SHOWN = 200, 60  # characters of a way into a value


class WireError(ValueError):
    """Bytes or JSON that do not follow the protocol; the message names the field, what came and what is allowed."""


class VersionMismatch(WireError):
    """The two sides speak different protocol versions or run different Python minor versions."""


class CannotTravel(TypeError):
    """A part of a value has no encoding that every Python version reads; only a pickle could carry it.

    Attributes:
        steps: the way to that part: "[2]", ".foo".
        what: what it is: "is a socket.socket".
    """

    def __init__(self, steps: tuple[str, ...], what: str) -> None:
        self.steps, self.what = steps, what
        super().__init__(f"{self.path or 'it'} {what}")

    @property
    def path(self) -> str:
        """The way to that part in one word, the middle left out where it is long."""
        text = "".join(self.steps)
        return text if len(text) <= _LONG else f"{text[:_SHOWN]}…{text[-_SHOWN:]}"


class PicklesRefused(WireError):
    """A pickle came where none may be loaded; nothing of it was."""
