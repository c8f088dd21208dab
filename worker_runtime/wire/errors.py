"""What can go wrong on the wire. The SDK and the control plane translate these at their borders."""


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
        super().__init__(f"{''.join(steps) or 'it'} {what}")


class PicklesRefused(WireError):
    """A pickle came where none may be loaded; nothing of it was."""
