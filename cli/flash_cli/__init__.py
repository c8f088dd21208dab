"""The `flash` command: looks after what runs here."""
