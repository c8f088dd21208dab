"""Helpers that tests of every package share: real processes, waiting for conditions, a state folder for each test."""
