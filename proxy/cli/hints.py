"""Errors of any command that say what to do next.

They stand behind click's own words for a command line that it cannot read, and where standard
output takes no more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from typing import Any

import click

from proxy.cli.lazy import LazyGroup

# What other programs call our commands.
_OTHER_WORDS = {
    "add": "create",
    "delete": "revoke",
    "disable": "suspend",
    "enable": "resume",
    "ls": "list",
    "new": "create",
    "remove": "revoke",
    "update": "edit",
}
_NO_COMMAND = re.compile(r"No such command '(.+)'\.")
_NO_NUMBER = re.compile(r"No such option:? '?-[0-9]")
_EXTRA_FILE = re.compile(r"Got unexpected extra argument \((\S+\.ya?ml)\)")


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class HintingGroup(LazyGroup):
    """The outermost group: an error of usage below it says what to do next, where that is known."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UnicodeEncodeError as error:
            # Bytes that are no UTF-8 come as surrogates, which no file and no process takes.
            if error.encoding != "utf-8":
                raise
            said = f"{error.object[:80]!r} is no text in UTF-8: set the terminal to UTF-8."
            raise click.UsageError(said, ctx) from error
        except click.UsageError as error:
            hint = self._hint(error, ctx)
            if hint is None:
                raise
            said = f"{error.message.rstrip('.')}. {hint}"
            raise click.UsageError(said, error.ctx) from error
        except OSError as error:
            if error.errno not in _NO_ROOM or error.filename is not None:
                raise
            _drop_output()
            raise click.ClickException(
                f"cannot write ({error.strerror}): what was printed is not all of it. Free some "
                "room and ask again; what was changed is changed."
            ) from error
        except Exception as error:
            # In the middle of an import, what needs the module raises over the interrupt.
            if _of_an_interrupt(error):
                raise click.Abort from error
            raise

    def _hint(self, error: click.UsageError, context: click.Context) -> str | None:
        if found := _EXTRA_FILE.match(error.message):
            return f"A config file is named with -c: -c {found[1]}"
        if _NO_NUMBER.match(error.message):
            return "A negative number stands behind two dashes: -- -50"
        found = _NO_COMMAND.match(error.message)
        # Newer versions of click name a command that is spelled alike: that is nearer than ours.
        if found and error.ctx is not None and not getattr(error, "possibilities", None):
            group = error.ctx.command
            if isinstance(group, click.Group):
                return self._another(group, found[1], context)
        return None

    def _another(self, group: click.Group, name: str, context: click.Context) -> str | None:
        """Name the command elsewhere, or our word for what the name says."""
        other = _OTHER_WORDS.get(name)
        if group is not self:
            known = group.list_commands(context)
            return f"`tollkeeper {group.name} {other}` does that." if other in known else None
        nouns = ((noun, self.get_command(context, noun)) for noun in self.list_commands(context))
        with_it = [
            f"`tollkeeper {noun} {name}`"
            for noun, command in nouns
            if isinstance(command, click.Group) and name in command.list_commands(context)
        ]
        return f"There is {' and '.join(with_it)}." if with_it else None


def _of_an_interrupt(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _drop_output() -> None:
    """Let what is still in the buffer go nowhere, or the end of Python would fail at it again."""
    with contextlib.suppress(OSError, ValueError):  # in tests it is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
