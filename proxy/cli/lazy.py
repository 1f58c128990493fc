"""Loads only what a command needs: `usage --help` starts without the server.

`LazyGroup` imports a command when it is called. `later` loads a module when it is first used.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final

import click

_LOADING: Final = threading.RLock()


class LazyGroup(click.Group):
    """A group with commands that are imported when they are called.

    `lazy` has the place of each, as `module:attribute`, and its line in the group's help.
    """

    def __init__(
        self, *arguments: Any, lazy: Mapping[str, tuple[str, str]], **settings: Any
    ) -> None:
        super().__init__(*arguments, **settings)
        self._lazy = lazy

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *self._lazy})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in self._lazy and name not in self.commands:
            module, _, attribute = self._lazy[name][0].partition(":")
            self.add_command(getattr(importlib.import_module(module), attribute), name)
        return super().get_command(context, name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        rows = []
        for name in self.list_commands(context):
            if name in self._lazy:
                rows.append((name, self._lazy[name][1]))
            elif (command := self.get_command(context, name)) is not None:
                rows.append((name, command.get_short_help_str(formatter.width)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def later(name: str) -> Any:
    """The module, which Python loads when one of its attributes is first used.

    Import it under TYPE_CHECKING as well, so that types and layers are checked.
    """
    return sys.modules.get(name) or _Later(name)


class _Later:
    """Stands for a module until it is used, by any number of threads at once.

    Python's own LazyLoader shows a second thread the half of the module that is loaded, before
    Python 3.13.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        with _LOADING:
            module = importlib.import_module(self._name)
        return getattr(module, attribute)
