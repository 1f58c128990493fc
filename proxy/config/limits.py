"""Makes the rules of a config's limits, and checks them.

A reload makes new rules; the counts go on by identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from proxy.config.settings import LimitSettings, Settings
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Enforce, Limit, Scope, limit_of, scope_name, share_ppm
from proxy.core.limits.rules import Limits, Rules


def rules_of(settings: Settings) -> Rules:
    """The limits of a config, compiled."""
    return Rules(
        proxy=_compiled(settings.limits, Scope.PROXY),
        upstreams={
            name: _compiled(upstream.limits, Scope.UPSTREAM, name)
            for name, upstream in settings.upstreams.items()
        },
        teams={name: _of_team(settings, name) for name in settings.teams},
        keys={name: _of_key(settings, name) for name in settings.keys},
        of_stranger=lambda key_id: _of_key(settings, key_id),
    )


def _of_team(settings: Settings, name: str) -> Limits:
    limits = settings.teams[name].limits
    return (
        _compiled(settings.defaults.team.limits, Scope.TEAM, name, shared=True)
        if limits is None
        else _compiled(limits, Scope.TEAM, name)
    )


def _of_key(settings: Settings, name: str) -> Limits:
    key = settings.keys.get(name)
    limits = None if key is None else key.limits
    return (
        _compiled(settings.defaults.key.limits, Scope.KEY, name, shared=True)
        if limits is None
        else _compiled(limits, Scope.KEY, name)
    )


def _compiled(
    limits: Sequence[LimitSettings], scope: Scope, scope_id: str = "", *, shared: bool = False
) -> Limits:
    return tuple(_limit(limit, scope, scope_id, shared=shared) for limit in limits)


def _limit(limit: LimitSettings, scope: Scope, scope_id: str, *, shared: bool) -> Limit:
    """Makes one limit.

    `shared`: it stands in `defaults`, and each key or team has one of its own. A name alone would
    make them one count.
    """
    name = f"{scope_name(scope, scope_id)}/{limit.name}" if limit.name and shared else limit.name
    shares = tuple(map(share_ppm, limit.warn_at))
    return limit_of(
        parse(limit.limit),
        scope,
        scope_id,
        name=name,
        enforce=Enforce(limit.enforce),
        warn_at_ppm=shares,
        burst=limit.burst,
    )


def check(settings: Settings, problem: Callable[[str, str], None]) -> None:
    """Tells of each limit that cannot be counted.

    Settings without a meaning, another currency than the ledger's, two with one identity.
    """
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
                problem(
                    path,
                    "charges are counted in the ledger's currency: write the amount in"
                    f" {settings.currency}",
                )
            if made.id in first_at:
                remedy = "choose another name" if limit.name else "give one of them a name"
                problem(
                    path, f"goes by the same count as {first_at[made.id]} ({made.id}); {remedy}"
                )
            first_at.setdefault(made.id, path)


def _places(settings: Settings) -> Iterator[tuple[str, Sequence[LimitSettings], Scope, str, bool]]:
    """Every list of limits in a config, with its path.

    A list in `defaults` stands once, for all keys or teams that take it.
    """
    yield "limits", settings.limits, Scope.PROXY, "", False
    for name, upstream in settings.upstreams.items():
        yield f"upstreams.{name}.limits", upstream.limits, Scope.UPSTREAM, name, False
    yield "defaults.team.limits", settings.defaults.team.limits, Scope.TEAM, "*", True
    yield "defaults.key.limits", settings.defaults.key.limits, Scope.KEY, "*", True
    for name, team in settings.teams.items():
        yield (
            f"teams.{name}.limits",
            team.limits if team.limits is not None else (),
            Scope.TEAM,
            name,
            False,
        )
    for name, key in settings.keys.items():
        yield (
            f"keys.{name}.limits",
            key.limits if key.limits is not None else (),
            Scope.KEY,
            name,
            False,
        )
