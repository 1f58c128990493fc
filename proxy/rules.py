"""The limits of a config, compiled: which of them hold for a request. A reload makes new ones; the counts behind them go on by identity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from proxy.core.limits.gcra import lookback_ms
from proxy.core.limits.language import SMOOTH_MS, Per, parse
from proxy.core.limits.limit import Enforce, Limit, Scope, limit_of, scope_name, share_ppm
from proxy.settings import LimitSettings, Settings

REMEMBERED_MAX = 16_384  # look-ups, by names of which clients make up some (models, and keys under `auth: forward`)

Limits = tuple[Limit, ...]
_Name = TypeVar("_Name")
_Found = TypeVar("_Found")


class Rules:
    """Immutable but for its memory of look-ups."""

    def __init__(self, settings: Settings) -> None:
        self._proxy = _compiled(settings.limits, Scope.PROXY)
        self._upstreams = {name: _compiled(upstream.limits, Scope.UPSTREAM, name) for name, upstream in settings.upstreams.items()}
        self._teams = {name: _of_team(settings, name) for name in settings.teams}
        self._keys = {name: _of_key(settings, name) for name in settings.keys}
        self._settings = settings
        self._strangers: dict[str, Limits] = {}                                 # keys that no config names: forwarded credentials
        self._callers: dict[tuple[str, str | None, str], tuple[Limits, bool]] = {}  # and whether some hold for some models only
        self._found: dict[tuple[str, str | None, str, str | None], Limits] = {}

    def limits_for(self, key_id: str, team: str | None, upstream: str, model: str | None) -> Limits:
        """The limits that hold for this request: of the proxy, the upstream, the team and the key, in this order. `model` as requested; None: none is named."""
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
            found = _remember(self._found, request, tuple(limit for limit in limits if limit.applies(model)))
        return found

    def of_tenant(self, key_id: str, team: str | None) -> Limits:
        """The limits of a team and of one of its keys, for whatever models."""
        return (self._teams.get(team, ()) if team is not None else ()) + self._own(key_id)

    def of_any_call(self, key_id: str, team: str | None) -> Limits:
        """The limits that hold for a caller whatever it calls: what its head alone tells."""
        return tuple(limit for limit in self._proxy + self.of_tenant(key_id, team) if not limit.models)

    def configured(self) -> Limits:
        """All limits of the proxy and of configured upstreams, teams and keys."""
        groups = ((self._proxy,), self._upstreams.values(), self._teams.values(), self._keys.values())
        return tuple(limit for group in groups for limits in group for limit in limits)

    def identities(self) -> frozenset[str]:
        """What all limits are counted by; those of keys that no config names stand here once, without a name."""
        return frozenset(limit.count_id for limit in self.configured() + _of_key(self._settings, ""))

    def without(self, limits: Iterable[Limit]) -> list[Limit]:
        """Those of these limits that nobody has here."""
        known = self.identities()
        return [limit for limit in limits if limit.count_id not in known and (limit.scope_id in self._keys or _nameless(limit) not in known)]

    def uses(self, per: Per) -> bool:
        """Whether anybody has a limit of this period, keys that no config names included."""
        return any(limit.per is per for limit in self.configured() + _of_key(self._settings, ""))

    def lookback_ms(self) -> int:
        """How far back single records are needed to rebuild the rates of anybody (`Quota.restore`)."""
        everybodys = self.configured() + _of_key(self._settings, "")
        return max((lookback_ms(limit.amount, limit.amount if limit.burst is None else limit.burst, SMOOTH_MS[limit.per]) for limit in everybodys if limit.smooth), default=0)

    def _of_caller(self, key_id: str, team: str | None, upstream: str) -> tuple[Limits, bool]:
        limits = self._proxy + self._upstreams.get(upstream, ()) + self.of_tenant(key_id, team)
        return limits, any(limit.models for limit in limits)

    def _own(self, key_id: str) -> Limits:
        own = self._keys.get(key_id)
        if own is None:
            own = self._strangers.get(key_id)
        return _remember(self._strangers, key_id, _of_key(self._settings, key_id)) if own is None else own


def _remember(memory: dict[_Name, _Found], name: _Name, found: _Found) -> _Found:
    """Kept within the bound; what is forgotten is looked up again."""
    if len(memory) >= REMEMBERED_MAX:
        memory.clear()
    memory[name] = found
    return found


def _of_team(settings: Settings, name: str) -> Limits:
    limits = settings.teams[name].limits
    return _compiled(settings.defaults.team.limits, Scope.TEAM, name, shared=True) if limits is None else _compiled(limits, Scope.TEAM, name)


def _of_key(settings: Settings, name: str) -> Limits:
    key = settings.keys.get(name)
    limits = None if key is None else key.limits
    return _compiled(settings.defaults.key.limits, Scope.KEY, name, shared=True) if limits is None else _compiled(limits, Scope.KEY, name)


def _nameless(limit: Limit) -> str:
    """A key's limit as `defaults` makes it, whatever the key is called."""
    return limit.count_id.replace(scope_name(limit.scope, limit.scope_id), scope_name(limit.scope, "")) if limit.scope is Scope.KEY else limit.count_id


def _compiled(limits: Sequence[LimitSettings], scope: Scope, scope_id: str = "", *, shared: bool = False) -> Limits:
    return tuple(_limit(limit, scope, scope_id, shared=shared) for limit in limits)


def _limit(limit: LimitSettings, scope: Scope, scope_id: str, *, shared: bool) -> Limit:
    """`shared`: it stands in `defaults`, and each key or team has one of its own: a name alone would make them one count."""
    name = f"{scope_name(scope, scope_id)}/{limit.name}" if limit.name and shared else limit.name
    shares = tuple(map(share_ppm, limit.warn_at))
    return limit_of(parse(limit.limit), scope, scope_id, name=name, enforce=Enforce(limit.enforce), warn_at_ppm=shares, burst=limit.burst)


def check(settings: Settings, problem: Callable[[str, str], None]) -> None:
    """Tells of each limit that cannot be counted: settings without a meaning, another currency than the ledger's, two with one identity."""
    first_at: dict[str, str] = {}
    for place, limits, scope, scope_id, shared in _places(settings):
        for index, limit in enumerate(limits):
            path = f"{place}[{index}]"
            if not limit.limit:
                continue  # its text is wrong, and the reader told
            try:
                made = _limit(limit, scope, scope_id, shared=shared)
            except ValueError as error:
                problem(path, str(error))
                continue
            if made.currency is not None and made.currency != settings.currency:
                problem(path, f"charges are counted in the ledger's currency: write the amount in {settings.currency}")
            if made.id in first_at:
                remedy = "choose another name" if limit.name else "give one of them a name"
                problem(path, f"goes by the same count as {first_at[made.id]} ({made.id}); {remedy}")
            first_at.setdefault(made.id, path)


def _places(settings: Settings) -> Iterator[tuple[str, Sequence[LimitSettings], Scope, str, bool]]:
    """Every list of limits in a config, with its path; of the defaults the one that stands for all."""
    yield "limits", settings.limits, Scope.PROXY, "", False
    for name, upstream in settings.upstreams.items():
        yield f"upstreams.{name}.limits", upstream.limits, Scope.UPSTREAM, name, False
    yield "defaults.team.limits", settings.defaults.team.limits, Scope.TEAM, "*", True
    yield "defaults.key.limits", settings.defaults.key.limits, Scope.KEY, "*", True
    for name, team in settings.teams.items():
        yield f"teams.{name}.limits", team.limits if team.limits is not None else (), Scope.TEAM, name, False
    for name, key in settings.keys.items():
        yield f"keys.{name}.limits", key.limits if key.limits is not None else (), Scope.KEY, name, False
