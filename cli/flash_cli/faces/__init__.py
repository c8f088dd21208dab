"""The face of each group of commands: options and help. What they do is in `commands/`, loaded when called."""
