"""What the admin plane takes and shows of keys, teams and the audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec

from proxy.config.settings import KeySettings, LimitSettings, TeamSettings
from proxy.core.managed import TenantKind
from proxy.ledger.reading import AuditEntry
from proxy.tenants import orders
from proxy.tenants.directory import Directory, state_of_key

PAGE_DEFAULT = 1000
PAGE_MAX = 10_000


class NewKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The order for one key, or for `count` keys called NAME-1, NAME-2 and so on.

    secret, secret_sha256 · of a key that exists elsewhere; else one is made
    says · what config.yaml would hold: team, models, expires, labels, limits, limits_add
    """

    name: str
    says: dict[str, Any] = {}
    count: int | None = None
    secret: str | None = None
    secret_sha256: str | None = None
    reason: str | None = None


class NewTeam(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The order for a team. `says`: models, labels, limits, limits_add."""

    name: str
    says: dict[str, Any] = {}
    reason: str | None = None


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Other words for what `says` names; null takes a word back."""

    says: dict[str, Any]
    reason: str | None = None


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`grace`: how long the present secret is good for, such as `24h`; `0s` ends it now."""

    grace: str = "24h"
    secret: str | None = None
    secret_sha256: str | None = None
    reason: str | None = None


class Why(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reason; it stands in the audit."""

    reason: str | None = None


class KeysQuery(msgspec.Struct, frozen=True):
    """Which keys: of one team, in one state, behind the name `after`, and how many.

    `search`: a part of their names, in any letter case.
    """

    team: str | None = None
    state: Literal["active", "suspended", "revoked", "team suspended", "team revoked"] | None = None
    after: str | None = None
    search: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT


class TeamsQuery(msgspec.Struct, frozen=True):
    """Teams behind the name `after`, and how many. `search`: a part of their names, in any case."""

    after: str = ""
    search: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT


class AuditQuery(msgspec.Struct, frozen=True):
    """Entries behind the seq `after`, and how many."""

    after: Annotated[int, msgspec.Meta(ge=0, le=2**62)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT


class MadeKey(msgspec.Struct, frozen=True):
    """A key and its secret, which nobody can look up later. None: it was given."""

    name: str
    secret: str | None


class MadeKeys(msgspec.Struct, frozen=True):
    """What was made."""

    keys: list[MadeKey]


class SecretView(msgspec.Struct, frozen=True):
    """One secret of a key; `until_ms`: when a replaced one ends."""

    made_at_ms: int
    until_ms: int | None


class KeyView(msgspec.Struct, frozen=True):
    """A key. Times are Unix milliseconds; `fault`: why the present config refuses it."""

    name: str
    team: str | None
    role: str
    state: str
    managed_by: str
    models: list[str]
    expires: str | None
    labels: dict[str, str]
    limits: list[str] | None
    limits_add: list[str]
    created_at_ms: int | None
    created_by: str | None
    last_used_ms: int | None
    secrets: list[SecretView]
    fault: str | None


class Keys(msgspec.Struct, frozen=True):
    """A page of keys, by name; `next`: what to ask for with `after`, None at the end."""

    keys: list[KeyView]
    next: str | None


class TeamView(msgspec.Struct, frozen=True):
    """A team and how many keys it has."""

    name: str
    state: str
    managed_by: str
    models: list[str]
    labels: dict[str, str]
    limits: list[str] | None
    limits_add: list[str]
    keys: int
    created_at_ms: int | None
    created_by: str | None
    fault: str | None


class Teams(msgspec.Struct, frozen=True):
    """A page of teams, by name; `next`: what to ask for with `after`, None at the end."""

    teams: list[TeamView]
    next: str | None = None


class Deed(msgspec.Struct, frozen=True):
    """An entry of the audit; `before` and `after` what it changed."""

    seq: int
    at_ms: int
    actor: str
    origin: str
    action: str
    kind: str
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None


class Deeds(msgspec.Struct, frozen=True):
    """A page of the audit; `next` goes into `after`, None at the end."""

    audit: list[Deed]
    next: int | None


class Problems(msgspec.Struct, frozen=True):
    """What is wrong with the audit; nothing, where every entry is as it was written."""

    problems: list[str]


class Done(msgspec.Struct, frozen=True):
    """The names whose state has changed, and how many running requests were ended.

    `still_refused`: why a resumed key is refused all the same, by its name.
    """

    changed: list[str]
    ended: int = 0
    still_refused: dict[str, str] = {}


def names(directory: Directory, kind: TenantKind, search: str | None = None) -> set[str]:
    """Every name of that kind with this part, in any letter case; those that are revoked too."""
    known = directory.config.keys if kind is TenantKind.KEY else directory.config.teams
    found = {*known, *(name for of, name in directory.rows if of is kind)}
    part = "" if search is None else search.strip().casefold()
    return {name for name in found if part in name.casefold()} if part else found


def key_view(directory: Directory, name: str, used: dict[str, int]) -> KeyView:
    """A key that the directory knows."""
    row = directory.rows.get((TenantKind.KEY, name))
    told = directory.settings.keys.get(name) or orders.key_of(row)
    in_config = directory.in_config(TenantKind.KEY, name)
    own = None if in_config else row
    return KeyView(
        name=name,
        team=told.team,
        role=told.role,
        state=state_of_key(directory, name, told.team),
        managed_by="file" if in_config else "api",
        models=list(told.models),
        expires=told.expires,
        labels=told.labels,
        **_limits(told),
        created_at_ms=None if own is None else own.created_at_ms,
        created_by=None if own is None else own.created_by,
        last_used_ms=used.get(name),
        secrets=[]
        if own is None
        else [SecretView(secret.made_at_ms, secret.until_ms) for secret in own.secrets],
        fault=directory.faults.get((TenantKind.KEY, name)),
    )


def team_views(directory: Directory, chosen: Iterable[str]) -> list[TeamView]:
    """Teams that the directory knows, with the number of keys of each."""
    keys = Counter(key.team for key in directory.settings.keys.values())
    return [_team_view(directory, name, keys[name]) for name in chosen]


def _team_view(directory: Directory, name: str, keys: int) -> TeamView:
    row = directory.rows.get((TenantKind.TEAM, name))
    told = directory.settings.teams.get(name) or TeamSettings()
    in_config = directory.in_config(TenantKind.TEAM, name)
    own = None if in_config else row
    return TeamView(
        name=name,
        state=directory.state(TenantKind.TEAM, name),
        managed_by="file" if in_config else "api",
        models=list(told.models),
        labels=told.labels,
        **_limits(told),
        keys=keys,
        created_at_ms=None if own is None else own.created_at_ms,
        created_by=None if own is None else own.created_by,
        fault=directory.faults.get((TenantKind.TEAM, name)),
    )


def _limits(told: KeySettings | TeamSettings) -> dict[str, Any]:
    def texts(limits: Sequence[LimitSettings]) -> list[str]:
        return [f"{limit.limit} per {limit.per}" if limit.per else limit.limit for limit in limits]

    return {
        "limits": None if told.limits is None else texts(told.limits),
        "limits_add": texts(told.limits_add),
    }


def deed(entry: AuditEntry) -> Deed:
    """An entry as it is shown."""
    told = entry.deed

    def read(text: str | None) -> dict[str, Any] | None:
        return None if text is None else msgspec.json.decode(text, type=dict[str, Any])

    return Deed(
        seq=entry.seq,
        at_ms=told.at_ms,
        actor=told.actor,
        origin=told.origin,
        action=told.action,
        kind=told.kind,
        name=told.name,
        before=read(told.before),
        after=read(told.after),
        reason=told.reason,
    )
