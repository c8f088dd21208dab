"""This package is brought up to date from a source that is ours, and from no other."""
