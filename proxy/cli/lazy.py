"""Loads only what a command needs: `usage --help` starts without the server.

`LazyGroup` imports a command when it is called. `later` loads a module when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from importlib.util import LazyLoader, find_spec, module_from_spec
from typing import Any

import click


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
    if name in sys.modules:
        return sys.modules[name]
    spec = find_spec(name)
    assert spec is not None and spec.loader is not None, f"there is no module {name}"
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
