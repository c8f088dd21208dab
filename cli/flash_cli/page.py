"""The page of `flash --help`: its commands below headings, in the order of a project's life."""

from typing import Any

import typer
import typer.core

SECTIONS = {
    "Make and deploy": {
        "init": "Make a project that runs at once.",
        "dev": "Serve the project over HTTP while you edit it.",
        "build": "Pack the project as a deploy would.",
        "plan": "Show what a deploy would change.",
        "deploy": "Build the project and bring it to an environment.",
        "rollback": "Give an environment an earlier version again.",
        "undeploy": "Remove endpoints with their jobs and workers.",
        "app": "Look after apps.",
        "env": "Look after an app's environments, such as staging.",
    },
    "Use and look": {
        "call": "Call an endpoint and print its result.",
        "status": "Show endpoints with their workers and jobs.",
        "logs": "Show what workers or a job wrote.",
        "jobs": "List jobs, cancel them, run them again, attach to one.",
    },
    "Where it runs": {
        "login": "Get a key for a platform and let calls go there.",
        "target": "Choose the platform that calls go to.",
        "server": "Start, stop and look at the control plane; keys for others.",
        "gc": "Remove what has expired.",
        "update": "Bring this package up to date.",
    },
}
"""Headings with their commands, each in a line. What is in none of them comes last."""

_REST = "More"


class Page(typer.core.TyperGroup):
    """The top of the command: as any group, but for the list of its commands."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write all commands that are not hidden, one line each."""
        shown = {name: command for name in self.list_commands(ctx) if not (command := self.commands[name]).hidden}
        listed = {name for lines in SECTIONS.values() for name in lines}
        rest = tuple(name for name in shown if name not in listed)
        width = max(map(len, shown), default=0)
        short = {name: command.get_short_help_str(formatter.width - width - 6) for name, command in shown.items()}
        for heading, lines in (*SECTIONS.items(), (_REST, {name: short[name] for name in rest})):
            rows = [(name.ljust(width), line) for name, line in lines.items() if name in shown]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
