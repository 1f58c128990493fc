"""Keys and teams that are kept in the ledger's database, and the audit of what was done to them.

What is said of a key or team is a mapping as it would stand in config.yaml, and is read like it.
"""

from __future__ import annotations

import enum

import msgspec

FORWARDED = "fwd-"  # names of callers who bring a vendor's own credential begin with it


class TenantKind(enum.StrEnum):
    """What a name is the name of."""

    KEY = "key"
    TEAM = "team"


class State(enum.StrEnum):
    """Whether requests are let through. A revoked name is never used again."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class KeySecret(msgspec.Struct, frozen=True, omit_defaults=True):
    """One credential of a key, known by its SHA-256 in lower-case hex.

    `until_ms` · from when on it is refused, after a rotation; None: it is the key's present one
    """

    sha256: str
    made_at_ms: int
    until_ms: int | None = None


class Managed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key or a team in the database.

    `file` · the config names it and says what it is; only `state` counts here
    `says` · the mapping, as JSON, of what config.yaml would hold of it
    `secrets` · of a key: the present one first, then those that rotations have replaced
    `cut_at_ms` · when its running requests were last ordered to end, at all processes; None: never
    """

    kind: TenantKind
    name: str
    state: State = State.ACTIVE
    file: bool = False
    says: msgspec.Raw = msgspec.Raw(b"{}")
    secrets: tuple[KeySecret, ...] = ()
    created_at_ms: int = 0
    created_by: str = ""
    cut_at_ms: int | None = None


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """One deed: who did what to whom, when, from where and why. It holds no secret.

    actor · the token's or the local user's name    origin · `socket`, an address, or a file
    before, after · JSON texts of what it changed; None where there was or is nothing
    """

    at_ms: int
    actor: str
    origin: str
    action: str
    kind: str
    name: str
    before: str | None = None
    after: str | None = None
    reason: str | None = None


class Carried(msgspec.Struct, frozen=True):
    """A change that is in effect, and how many running requests were ended with it."""

    change: TenantChange
    ended: int = 0


class TenantChange(msgspec.Struct, frozen=True):
    """What one transaction writes: rows that replace those of their names, and their audit."""

    rows: tuple[Managed, ...]
    audit: tuple[Audit, ...]
