"""What starts workers: `base` is the protocol, `process` starts them on this machine."""
