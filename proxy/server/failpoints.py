"""Make the process die or a step fail at a named place, as a fault test asks for.

A spec is a comma-separated list of `name=action[@N[+]]`. The actions:

- `kill`: SIGKILL of this process.
- `raise`: OSError "input/output error"; at a point of an exchange, FailpointError.
- `enospc`: OSError "no space left".

`@N` acts on the Nth pass only, `@N+` from the Nth on; without it every pass acts.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import signal

import msgspec

NAMES: tuple[str, ...] = (
    "journal.open.before",
    "journal.open.after",
    "journal.mark.before",
    "journal.mark.after",
    "journal.close.before",
    "journal.close.after",
    "journal.void.before",
    "journal.void.after",
    "journal.roll.before",
    "journal.roll.after",
    "journal.preallocate.before",
    "journal.preallocate.after",
    "journal.sync.before",
    "journal.sync.after",
    "journal.compress.before",
    "journal.compress.renamed",
    "journal.compress.after",
    "journal.delete.before",
    "journal.delete.after",
    "exchange.send.before",
    "exchange.send.after",
    "exchange.settle.before",
    "exchange.close.after",
    "exchange.end.before",
    "exchange.end.after",
    "recorder.batch.before",
    "recorder.batch.after",
    "ledger.book.before",
    "ledger.book.inside",
    "ledger.book.after",
)
_ACTIONS = ("kill", "raise", "enospc")
_RULE = re.compile(r"(?P<name>[a-z._]+)=(?P<action>[a-z]+)(@(?P<pass>[1-9][0-9]*)(?P<on>\+)?)?")


class FailpointError(Exception):
    """An error that no part expects, as a bug would raise it. `raise` raises it in an exchange."""


class _Rule(msgspec.Struct, frozen=True):
    action: str
    first_pass: int | None  # None: every pass
    from_then_on: bool

    def acts(self, passes: int) -> bool:
        if self.first_pass is None:
            return True
        return passes >= self.first_pass if self.from_then_on else passes == self.first_pass


class Failpoints:
    """The faults of one spec; parts call it as a `FaultPoint` with a name from NAMES."""

    def __init__(self, spec: str) -> None:
        """Raises ValueError for a spec that would test nothing, such as an unknown name."""
        self._rules = dict(_parse(rule.strip()) for rule in spec.split(",") if rule.strip())
        self._passes = dict.fromkeys(self._rules, 0)

    def __call__(self, name: str) -> None:
        rule = self._rules.get(name)
        if rule is None:
            return
        self._passes[name] += 1
        if not rule.acts(self._passes[name]):
            return
        if rule.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif rule.action == "raise" and name.startswith("exchange."):
            raise FailpointError(f"failpoint {name}")
        else:
            number = errno.ENOSPC if rule.action == "enospc" else errno.EIO
            raise OSError(number, f"{os.strerror(number)} (failpoint {name})")


def _parse(rule: str) -> tuple[str, _Rule]:
    match = _RULE.fullmatch(rule)
    if match is None:
        raise ValueError(
            f"failpoint rule {rule!r} is not name=action, name=action@N or name=action@N+"
        )
    name, action = match["name"], match["action"]
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        raise ValueError(
            f"unknown failpoint {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        )
    if action not in _ACTIONS:
        raise ValueError(f"unknown failpoint action {action!r}: one of {', '.join(_ACTIONS)}")
    return name, _Rule(
        action, None if match["pass"] is None else int(match["pass"]), match["on"] is not None
    )
