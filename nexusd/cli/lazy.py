"""A group of commands that are listed from a table and imported when one of them is invoked."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Entry(NamedTuple):
    """A command: where it is (`module:attribute`), its line in the help, and the heading above it.

    The attribute is a function, or a `typer.Typer` for a group.
    """

    target: str
    help: str
    panel: str


class LazyGroup(TyperGroup):
    """Lists its commands by stand-ins that only have a help text; the real one is loaded to be run, to show
    its own help, or to complete its options.
    """

    entries: ClassVar[Mapping[str, Entry]] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        """In the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's signature
        """The stand-in, for listings."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        return TyperCommand(name=cmd_name, help=entry.help, rich_help_panel=entry.panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself, and what is left of the arguments for it."""
        self.commands = {name: self.get_command(ctx, name) for name in self.entries}  # to suggest near names
        name, command, rest = super().resolve_command(ctx, args)
        if name is None or command is None:
            return name, command, rest
        return name, load(name, self.entries[name]), rest


def load(name: str, entry: Entry) -> Any:
    """Import a command and build it."""
    module, _, attribute = entry.target.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False)
        single.command(name, help=None)(found)
        found = single
    command = typer.main.get_command(found)
    command.name = name
    return command
