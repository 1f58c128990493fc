"""What is said of a key or a team outside of config.yaml, read and checked as if it stood there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from proxy.config import limits
from proxy.config.fields import NAMES_ALIKE, Block, Name
from proxy.config.instants import instant_ms
from proxy.config.nodes import Fraction, Node
from proxy.config.reader import SettingsReader
from proxy.config.settings import KeySettings, Settings, TeamSettings
from proxy.core.managed import TenantKind
from proxy.core.spelling import nearest

# Secrets are no part of it. What a team is charged beside its costs stands in config.yaml alone.
SAYS = {
    TenantKind.KEY: ("team", "role", "models", "expires", "labels", "limits", "limits_add"),
    TenantKind.TEAM: ("models", "labels", "limits", "limits_add"),
}

DEPTH_MAX = 16  # of mappings and lists in each other


class Mistake(Exception):
    """What is said cannot be used. The message says what to write instead."""


class _KeysAndTeams(Block, frozen=True, kw_only=True):
    keys: dict[Name, KeySettings] = {}
    teams: dict[Name, TeamSettings] = {}


def read_key(name: str, says: Mapping[str, Any], known: Settings) -> KeySettings:
    """A key as config.yaml would have it; `known` has the teams. Raises Mistake."""
    key = _read(TenantKind.KEY, name, says, known).keys[name]
    if key.team is not None and key.team not in known.teams:
        close = nearest(key.team, known.teams, NAMES_ALIKE)
        hint = f"; the nearest is {close}" if close is not None else ""
        raise Mistake(f"team: there is no team {key.team!r}{hint}")
    if key.role == "lead" and key.team is None:
        raise Mistake("role: a lead reads what its team uses, so name its team")
    if name.startswith("fwd-"):
        raise Mistake("names that begin with fwd- stand for forwarded credentials")
    if key.expires is not None:
        instant_ms(key.expires, known.timezone)
    return key


def read_team(name: str, says: Mapping[str, Any], known: Settings) -> TeamSettings:
    """A team as config.yaml would have it. Raises Mistake."""
    return _read(TenantKind.TEAM, name, says, known).teams[name]


def check_words(kind: TenantKind, says: Iterable[str]) -> None:
    """Raises Mistake for a word that cannot be said."""
    for field in says:
        if field not in SAYS[kind]:
            choices = ", ".join(SAYS[kind])
            raise Mistake(
                f"{field[:80]!r} cannot be said of a {kind} here; the nearest is"
                f" {nearest(field[:80], SAYS[kind])} (known: {choices})"
            )


def _read(kind: TenantKind, name: str, says: Mapping[str, Any], known: Settings) -> _KeysAndTeams:
    check_words(kind, says)
    block = f"{kind}s"
    reader = SettingsReader(Path())
    found = reader.read(_KeysAndTeams, _node({block: {name: dict(says)}}))
    problems = [str(problem) for problem in reader.problems]
    if not problems:
        whole = Settings(
            currency=known.currency,
            timezone=known.timezone,
            defaults=known.defaults,
            privacy=known.privacy,  # with attribution, it says which values a limit can count by
            attribution=known.attribution,
            keys=found.keys,
            teams=found.teams,
        )
        limits.check(whole, lambda path, text: problems.append(f"{path}: {text}"))
    if problems:
        raise Mistake(". ".join(problem.replace(f"{block}.{name}.", "") for problem in problems))
    return found


def _node(value: object, depth: int = 0) -> Node:
    """A value of JSON as the tree of a config file."""
    if depth > DEPTH_MAX:
        raise Mistake(f"nothing that can be said is nested in {DEPTH_MAX} others")
    if isinstance(value, Mapping):
        return Node({str(name): _node(item, depth + 1) for name, item in value.items()}, "")
    if isinstance(value, list | tuple):
        return Node([_node(item, depth + 1) for item in value], "")
    if isinstance(value, float):
        return Node(Fraction(repr(value)), "", repr(value))
    if value is None or isinstance(value, str | bool | int):
        return Node(value, "", "" if value is None else str(value))
    raise Mistake(f"{msgspec.json.encode(value).decode()[:80]} is nothing that can be said")
