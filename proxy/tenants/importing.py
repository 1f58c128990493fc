"""Takes keys and teams over that exist elsewhere: each row is made, is here already, or is refused.

Nothing here writes. The same rows again make nothing: a key is known by its secret's digest, a team
by its name.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.core.errors import ProxyError
from proxy.core.managed import Managed, State, TenantChange, TenantKind
from proxy.tenants import orders
from proxy.tenants.directory import Directory, said

OTHER_NAME_DIGITS = 6  # of a key's digest, behind a name that another key has


class Incoming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key or team as another gateway has it, in this proxy's words.

    `suspended`: it is blocked there, so it is made suspended.
    """

    kind: TenantKind
    name: str
    says: dict[str, Any] = {}
    secret_sha256: str | None = None
    suspended: bool = False


class ImportOutcome(enum.StrEnum):
    """What became of a row."""

    MADE = "made"
    KNOWN = "here already"
    REFUSED = "refused"


class Imported(msgspec.Struct, frozen=True):
    """What became of a row: its name here, and what is to be said of it."""

    outcome: ImportOutcome
    name: str
    note: str | None = None


def take_over(
    directory: Directory, rows: Sequence[Incoming], by: orders.By
) -> tuple[TenantChange, list[Imported]]:
    """The change that makes what is new, and what becomes of each row, in their order."""
    changes: list[TenantChange] = []
    told: list[Imported] = []
    waiting = _Waiting()
    for row in rows:
        if row.kind is TenantKind.TEAM or waiting.concern(row):
            directory = directory.with_rows(waiting.take())
        known = _known(directory, row)
        if known is not None:
            told.append(known)
            continue
        try:
            name, change = _made(directory, row, by)
        except ProxyError as error:
            told.append(Imported(ImportOutcome.REFUSED, row.name, error.message))
            continue
        if row.kind is TenantKind.TEAM:
            directory = directory.with_rows(change.rows)
        else:
            waiting.add(change.rows)
        changes.append(change)
        note = None if name == row.name else f"another key is called {row.name!r}"
        told.append(Imported(ImportOutcome.MADE, name, note))
    return TenantChange(
        tuple(made for change in changes for made in change.rows),
        tuple(entry for change in changes for entry in change.audit),
    ), told


class _Waiting:
    """Keys that are made and not in the directory yet: to put each in by itself copies all of it.

    That is ten thousand times ten thousand keys.
    """

    def __init__(self) -> None:
        self._rows: list[Managed] = []
        self._taken: set[str] = set()  # their names and digests

    def add(self, rows: Sequence[Managed]) -> None:
        """Keep these until somebody asks for what is theirs."""
        self._rows += rows
        for row in rows:
            self._taken |= {row.name, *(secret.sha256 for secret in row.secrets)}

    def concern(self, row: Incoming) -> bool:
        """Whether one of them has the row's secret or a name that it may get."""
        wanted = {row.name, row.secret_sha256 or "", _other_name(row)}
        return not self._taken.isdisjoint(wanted)

    def take(self) -> list[Managed]:
        """All of them, which are then kept no more."""
        rows, self._rows, self._taken = self._rows, [], set()
        return rows


def _other_name(row: Incoming) -> str:
    """The name of a key whose own name another one has."""
    suffix = f"-{(row.secret_sha256 or '')[:OTHER_NAME_DIGITS]}"
    return f"{row.name[: orders.NAME_CHARS_MAX - len(suffix)]}{suffix}"


def _known(directory: Directory, row: Incoming) -> Imported | None:
    """What is here of it; None if nothing is."""
    if row.kind is TenantKind.TEAM:
        in_config = directory.in_config(row.kind, row.name)
        if not in_config and (row.kind, row.name) not in directory.rows:
            return None
        name = row.name
    else:
        owner = None if row.secret_sha256 is None else directory.digests.get(row.secret_sha256)
        if owner is None:
            return None
        name = owner
    return Imported(ImportOutcome.KNOWN, name, _difference(directory, row, name))


def _difference(directory: Directory, row: Incoming, name: str) -> str | None:
    """In what the one here is another than the row would make."""
    if directory.in_config(row.kind, name):
        return "config.yaml has it, and what stands there holds"
    here = directory.rows[row.kind, name]
    if here.state is State.REVOKED:
        return "it is revoked here"
    words = said(here)
    differs = sorted(word for word in {*words, *row.says} if words.get(word) != row.says.get(word))
    if row.suspended and here.state is State.ACTIVE:
        differs.append("suspended")
    return f"it differs here in {', '.join(differs)}, and stays as it is" if differs else None


def _made(directory: Directory, row: Incoming, by: orders.By) -> tuple[str, TenantChange]:
    state = State.SUSPENDED if row.suspended else State.ACTIVE
    if row.kind is TenantKind.TEAM:
        return row.name, orders.create_team(directory, row.name, row.says, by, state)
    digest, name = row.secret_sha256 or "", row.name
    if directory.in_config(row.kind, name) or (row.kind, name) in directory.rows:
        name = _other_name(row)
    return name, orders.create_keys(directory, {name: digest}, row.says, by, state)
