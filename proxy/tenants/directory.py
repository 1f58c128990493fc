"""Who may call: the keys and teams of config.yaml, and those in the ledger's database.

The config is the truth for what it names. A suspension holds for both.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import msgspec

from proxy.config.managed import Mistake, read_key, read_team
from proxy.config.settings import KeySettings, Settings, TeamSettings
from proxy.core.managed import Managed, State, TenantKind

Name = tuple[TenantKind, str]


class Directory:
    """Immutable. `settings` are those of the config with the database's keys and teams in them.

    rows · all that the database says, by kind and name
    digests · whose each secret is, by its SHA-256; those of revoked keys too, the config's first
    faults · why a row cannot be used under this config; what it stands for is refused
    """

    def __init__(self, config: Settings, rows: Iterable[Managed] = ()) -> None:
        self.config = config
        self.rows: dict[Name, Managed] = {}
        self.faults: dict[Name, str] = {}
        self.digests = {
            key.secret_sha256: name for name, key in config.keys.items() if key.secret_sha256
        }
        self.settings = config
        self._put(rows)

    def with_rows(self, rows: Iterable[Managed]) -> Directory:
        """The same with these rows in place of those of their names."""
        given = {(row.kind, row.name): row for row in rows}
        if any(kind is TenantKind.TEAM for kind, _ in given):
            # A key that was refused for its team was not there may have one now.
            given = {name: self.rows[name] for name in self.faults} | given
        new = copy.copy(self)
        new._put(given.values())
        return new

    def with_config(self, config: Settings) -> Directory:
        """The same rows beside another config."""
        return Directory(config, self.rows.values())

    def in_config(self, kind: TenantKind, name: str) -> bool:
        """Whether config.yaml names it."""
        return name in (self.config.keys if kind is TenantKind.KEY else self.config.teams)

    @property
    def has_several_owners(self) -> bool:
        """Whether there is more than one team, or key without one, that calls are made for."""
        owners = (
            (key.team, None if key.team else name) for name, key in self.settings.keys.items()
        )
        first = next(owners, None)
        return any(owner != first for owner in owners)

    def state(self, kind: TenantKind, name: str) -> State:
        """What the database says of the name's state; what it does not know is active."""
        row = self.rows.get((kind, name))
        return State.ACTIVE if row is None else row.state

    def keys_of(self, team: str) -> list[str]:
        """The names of a team's keys, sorted; those that are revoked too."""
        found = {name for name, key in self.settings.keys.items() if key.team == team}
        for (kind, name), row in self.rows.items():
            gone = kind is TenantKind.KEY and name not in self.settings.keys
            if gone and said(row).get("team") == team:
                found.add(name)
        return sorted(found)

    def _put(self, rows: Iterable[Managed]) -> None:
        # What this one is a copy of stays as it was.
        self.rows, self.faults = self.rows.copy(), self.faults.copy()
        self.digests = self.digests.copy()
        teams, keys = self.settings.teams.copy(), self.settings.keys.copy()
        # Of many keys most say the same, and reading it takes a tenth of a millisecond.
        known: dict[tuple[TenantKind, bytes], KeySettings | TeamSettings] = {}
        # Teams come first: keys name them.
        for row in sorted(rows, key=lambda row: row.kind is TenantKind.KEY):
            name = (row.kind, row.name)
            self.rows[name] = row
            self.faults.pop(name, None)
            for secret in row.secrets:
                self.digests.setdefault(secret.sha256, row.name)
            if row.file:
                continue
            if self.in_config(row.kind, row.name):
                self.faults[name] = (
                    "it was revoked, and names are never used again: name it anew in config.yaml"
                    if row.state is State.REVOKED
                    else "config.yaml names it too, and what stands there holds"
                )
                continue
            if row.kind is TenantKind.KEY:
                keys.pop(row.name, None)
            else:
                teams.pop(row.name, None)
            if row.state is State.REVOKED:
                continue
            owner = self.digests[row.secrets[0].sha256] if row.secrets else row.name
            if owner != row.name:
                self.faults[name] = f"config.yaml gives its secret to the key {owner!r}"
                continue
            try:
                told = known.get((row.kind, bytes(row.says)))
                if told is None:
                    whole = msgspec.structs.replace(self.config, teams=teams)
                    read = read_key if row.kind is TenantKind.KEY else read_team
                    told = known[row.kind, bytes(row.says)] = read(row.name, said(row), whole)
            except Mistake as fault:
                self.faults[name] = str(fault)
                continue
            if isinstance(told, KeySettings):
                keys[row.name] = told
            else:
                teams[row.name] = told
        self.settings = msgspec.structs.replace(self.config, teams=teams, keys=keys)


def said(row: Managed) -> dict[str, object]:
    """What a row says, as a mapping."""
    return msgspec.json.decode(row.says, type=dict[str, object])


def state_of_key(directory: Directory, name: str, team: str | None) -> str:
    """Whether a key is let through, and where its team is not: that."""
    own = directory.state(TenantKind.KEY, name)
    if own is State.ACTIVE and team is not None:
        of_team = directory.state(TenantKind.TEAM, team)
        return own if of_team is State.ACTIVE else f"team {of_team}"
    return own
