"""What can go wrong on the wire. The SDK and the control plane translate these at their borders."""


class WireError(ValueError):
    """Bytes or JSON that do not follow the protocol; the message names the field, what came and what is allowed."""


class VersionMismatch(WireError):
    """The two sides speak different protocol versions or run different Python minor versions."""
