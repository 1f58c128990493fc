"""Finds the limits of a request among those of the proxy, its upstreams, teams and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Self, TypeVar

from proxy.core.calendar import Per
from proxy.core.limits.dimensions import value_of
from proxy.core.limits.gcra import lookback_ms
from proxy.core.limits.language import SMOOTH_MS, Unit
from proxy.core.limits.limit import Enforce, Limit, Scope, scope_name
from proxy.core.model_names import sent_name

# Look-ups that are remembered. Clients make up some of the names: models, and keys under
# `auth: forward`.
REMEMBERED_MAX = 16_384
Limits = tuple[Limit, ...]
_GROWING = (Unit.TOKENS, Unit.OUTPUT_TOKENS, Unit.MONEY)
_Name = TypeVar("_Name")
_Found = TypeVar("_Found")


class LimitSet(tuple[Limit, ...]):
    """The limits of a request, with what has to be known of them together.

    All is found once for each kind of request, and not for each request.
    """

    money: bool  # whether one of them counts money
    strict: bool  # whether one lets through only what it can bound
    grows: bool  # whether a stream may outgrow what it holds of one
    valued: bool  # whether one counts the values of a dimension apart: ask `of_values`

    def __new__(cls, limits: Iterable[Limit] = ()) -> Self:
        made = super().__new__(cls, limits)
        made.money = any(limit.unit is Unit.MONEY for limit in made)
        made.strict = any(limit.enforce is Enforce.STRICT for limit in made)
        made.grows = any(
            limit.unit in _GROWING and limit.enforce is not Enforce.STRICT for limit in made
        )
        made.valued = any(limit.dimension is not None and limit.value is None for limit in made)
        return made

    def of_values(self, end_user: str | None, tags: Mapping[str, str]) -> LimitSet:
        """The limits of a request whose record will say these."""
        if not self.valued:
            return self
        return LimitSet(
            limit
            if limit.dimension is None
            else limit.of_value(value_of(limit.dimension, end_user, tags))
            for limit in self
        )


class Rules:
    """Immutable but for its memory of look-ups."""

    def __init__(
        self,
        *,
        proxy: Limits,
        upstreams: Mapping[str, Limits],
        teams: Mapping[str, Limits],
        keys: Mapping[str, Limits],
        of_stranger: Callable[[str], Limits],
        aliases: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """`of_stranger` makes the limits of a key that no config names, by the key's id.

        `aliases` has the model that an upstream is sent for an alias. A limit for either name
        counts such a request.
        """
        self._proxy = proxy
        self._upstreams = upstreams
        self._teams = teams
        self._keys = keys
        self._of_stranger = of_stranger
        self._aliases = aliases or {}
        self._strangers: dict[str, Limits] = {}  # keys that no config names: forwarded credentials
        self._callers: dict[
            tuple[str, str | None, str], tuple[LimitSet, bool]
        ] = {}  # and whether some hold for some models only
        self._found: dict[tuple[str, str | None, str, str | None], LimitSet] = {}

    def changed(
        self, teams: Mapping[str, Limits | None], keys: Mapping[str, Limits | None]
    ) -> Rules:
        """The same with these limits of teams and keys; None: there is no such team or key."""
        return Rules(
            proxy=self._proxy,
            upstreams=self._upstreams,
            teams=_replaced(self._teams, teams),
            keys=_replaced(self._keys, keys),
            of_stranger=self._of_stranger,
            aliases=self._aliases,
        )

    def of_some(self, teams: Iterable[str], keys: Iterable[str]) -> Rules:
        """The limits of these teams and keys alone."""
        return Rules(
            proxy=(),
            upstreams={},
            teams={name: self._teams[name] for name in teams if name in self._teams},
            keys={name: self._keys[name] for name in keys if name in self._keys},
            of_stranger=lambda _: (),
            aliases=self._aliases,
        )

    def of_period(self, per: Per) -> Rules:
        """The limits of this period alone, without those that count values apart."""

        def of_it(limits: Limits) -> Limits:
            return tuple(one for one in limits if one.per is per and one.dimension is None)

        def named(groups: Mapping[str, Limits]) -> dict[str, Limits]:
            # A key without limits of its own is no stranger, whom default limits hold for.
            return {name: of_it(limits) for name, limits in groups.items()}

        return Rules(
            proxy=of_it(self._proxy),
            upstreams=named(self._upstreams),
            teams=named(self._teams),
            keys=named(self._keys),
            of_stranger=lambda key_id: of_it(self._of_stranger(key_id)),
            aliases=self._aliases,
        )

    def tell_calls_apart(self) -> bool:
        """Whether a request's model or upstream says which of the limits hold for it."""
        everybodys = self.configured() + self._of_stranger("")
        return any(limit.models or limit.scope is Scope.UPSTREAM for limit in everybodys)

    def limits_for(
        self, key_id: str, team: str | None, upstream: str, model: str | None
    ) -> LimitSet:
        """The limits of a request: of the proxy, the upstream, the team and the key, in this order.

        `model` as requested, which may be an alias; None: none is named.
        """
        caller = (key_id, team, upstream)
        known = self._callers.get(caller)
        if known is None:
            known = _remember(self._callers, caller, self._of_caller(key_id, team, upstream))
        limits, by_model = known
        if not by_model:
            return limits
        request = (key_id, team, upstream, model)
        found = self._found.get(request)
        if found is None:
            names = {model}
            if model is not None:
                names.add(sent_name(self._aliases, upstream, model))
            found = LimitSet(limit for limit in limits if any(map(limit.applies, names)))
            found = _remember(self._found, request, found)
        return found

    def of_tenant(self, key_id: str, team: str | None) -> Limits:
        """The limits of a team and of one of its keys, for whatever models."""
        return (self._teams.get(team, ()) if team is not None else ()) + self._own(key_id)

    def of_any_call(self, key_id: str, team: str | None) -> Limits:
        """The limits that hold for a caller whatever it calls: what its head alone tells."""
        return tuple(
            limit
            for limit in self._proxy + self.of_tenant(key_id, team)
            if not limit.models and limit.dimension is None
        )

    def configured(self) -> Limits:
        """All limits of the proxy and of configured upstreams, teams and keys."""
        groups = (
            (self._proxy,),
            self._upstreams.values(),
            self._teams.values(),
            self._keys.values(),
        )
        return tuple(limit for group in groups for limits in group for limit in limits)

    def dimensions(self, per: Per | None = None) -> frozenset[str]:
        """What limits count apart, those of keys that no config names included.

        `per`: limits of this period alone
        """
        everybodys = self.configured() + self._of_stranger("")
        return frozenset(
            limit.dimension
            for limit in everybodys
            if limit.dimension is not None and per in (None, limit.per)
        )

    def identities(self) -> frozenset[str]:
        """The count ids of all limits.

        Default limits of keys that no config names stand here once, with an empty name.
        """
        return frozenset(limit.count_id for limit in self.configured() + self._of_stranger(""))

    def without(self, limits: Iterable[Limit]) -> list[Limit]:
        """The given limits that no longer exist in this config."""
        known = self.identities()
        return [
            limit
            for limit in limits
            if limit.rule_id not in known
            and (limit.scope_id in self._keys or _nameless(limit) not in known)
        ]

    def uses(self, per: Per) -> bool:
        """Whether anybody has a limit of this period, keys that no config names included."""
        return any(limit.per is per for limit in self.configured() + self._of_stranger(""))

    def lookback_ms(self) -> int:
        """How far back single records are needed to rebuild all rates (`Quota.restore`)."""
        everybodys = self.configured() + self._of_stranger("")
        return max(
            (
                lookback_ms(
                    limit.amount,
                    limit.amount if limit.burst is None else limit.burst,
                    SMOOTH_MS[limit.per],
                )
                for limit in everybodys
                if limit.smooth
            ),
            default=0,
        )

    def _of_caller(self, key_id: str, team: str | None, upstream: str) -> tuple[LimitSet, bool]:
        limits = self._proxy + self._upstreams.get(upstream, ()) + self.of_tenant(key_id, team)
        return LimitSet(limits), any(limit.models for limit in limits)

    def _own(self, key_id: str) -> Limits:
        own = self._keys.get(key_id)
        if own is None:
            own = self._strangers.get(key_id)
        return _remember(self._strangers, key_id, self._of_stranger(key_id)) if own is None else own


def _replaced(
    all_of_them: Mapping[str, Limits], changed: Mapping[str, Limits | None]
) -> dict[str, Limits]:
    merged = {**all_of_them, **{name: limits or () for name, limits in changed.items()}}
    for name, limits in changed.items():
        if limits is None:
            del merged[name]
    return merged


def _remember(memory: dict[_Name, _Found], name: _Name, found: _Found) -> _Found:
    """Kept within the bound; what is forgotten is looked up again."""
    if len(memory) >= REMEMBERED_MAX:
        memory.clear()
    memory[name] = found
    return found


def _nameless(limit: Limit) -> str:
    """A key's limit as `defaults` makes it, whatever the key is called."""
    return (
        limit.rule_id.replace(scope_name(limit.scope, limit.scope_id), scope_name(limit.scope, ""))
        if limit.scope is Scope.KEY
        else limit.rule_id
    )
