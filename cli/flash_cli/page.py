"""The page of `flash --help`: its commands below headings, in the order of a project's life."""

from typing import Any

import typer
import typer.core

SECTIONS = {
    "Make and deploy": ("init", "dev", "build", "plan", "deploy", "rollback", "undeploy", "app", "env"),
    "Use and look": ("call", "status", "logs", "jobs"),
    "Where it runs": ("login", "target", "server", "gc", "update"),
}
"""Headings with the names of their commands. What is in none of them comes last."""

_REST = "More"


class Page(typer.core.TyperGroup):
    """The top of the command: as any group, but for the list of its commands."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write all commands that are not hidden, one line each."""
        shown = {name: command for name in self.list_commands(ctx) if not (command := self.commands[name]).hidden}
        listed = {name for names in SECTIONS.values() for name in names}
        rest = tuple(name for name in shown if name not in listed)
        width = max(map(len, shown), default=0)
        for heading, names in (*SECTIONS.items(), (_REST, rest)):
            rows = [
                (name.ljust(width), shown[name].get_short_help_str(formatter.width - width - 6))
                for name in names
                if name in shown
            ]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
