"""The keys that the control plane's owner gives to others, described."""
