"""Makes the rules of a config's limits, and checks them.

A reload makes new rules; the counts go on by identity.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import msgspec

from proxy.config.aliases import sent_names
from proxy.config.settings import KeySettings, LimitSettings, Settings, TeamSettings
from proxy.core.limits.dimensions import END_USER, dimension, tag_of
from proxy.core.limits.language import Rule, parse
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
        teams={name: limits_of_team(settings, name) for name in settings.teams},
        keys={name: limits_of_key(settings, name) for name in settings.keys},
        of_stranger=lambda key_id: limits_of_key(settings, key_id),
        aliases=sent_names(settings),
    )


def limits_of_team(settings: Settings, name: str) -> Limits:
    """The limits of one team: its own or the defaults, and those that it adds."""
    team = settings.teams.get(name)
    return _own(team, settings.defaults.team.limits, Scope.TEAM, name)


def limits_of_key(settings: Settings, name: str) -> Limits:
    """The limits of one key, which no config need name."""
    return _own(settings.keys.get(name), settings.defaults.key.limits, Scope.KEY, name)


def _own(
    said: TeamSettings | KeySettings | None,
    defaults: Sequence[LimitSettings],
    scope: Scope,
    name: str,
) -> Limits:
    replaces = None if said is None else said.limits
    added = () if said is None else said.limits_add
    return (
        _compiled(defaults, scope, name, shared=True)
        if replaces is None
        else _compiled(replaces, scope, name)
    ) + _compiled(added, scope, name)


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
        rule_of(limit),
        scope,
        scope_id,
        name=name,
        enforce=Enforce(limit.enforce),
        warn_at_ppm=shares,
        burst=limit.burst,
    )


def rule_of(limit: LimitSettings) -> Rule:
    """The rule that a limit states by its text and by `per`. Raises ValueError."""
    rule = parse(limit.limit)
    if not limit.per:
        return rule
    what = dimension(limit.per)
    if rule.dimension not in (None, what):
        raise ValueError("per stands in the rule too, and says something else; leave one out")
    return msgspec.structs.replace(rule, dimension=what)


def _uncounted(limit: Limit, settings: Settings) -> str | None:
    """Why the values of this limit's dimension would not be known; None: they are."""
    what = limit.dimension
    if what == END_USER and settings.privacy.end_user == "off":
        return (
            "no end user is kept under privacy.end_user: off, so none can be counted; set it to"
            " hash or plain"
        )
    if what is not None and what.startswith("tag:"):
        name = tag_of(what)
        if name not in settings.attribution.tags.keep:
            return f"the tag {name} is not kept; add it to attribution.tags.keep"
    return None


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
            uncounted = _uncounted(made, settings)
            if uncounted is not None:
                problem(path, uncounted)
            if made.id in first_at:
                remedy = "choose another name" if limit.name else "give one of them a name"
                problem(
                    path, f"goes by the same count as {first_at[made.id]} ({made.id}); {remedy}"
                )
            first_at.setdefault(made.id, path)
    _check_added(settings, problem)


def _check_added(settings: Settings, problem: Callable[[str, str], None]) -> None:
    """Tells of limits that are added to defaults with whose counts theirs would be one."""
    for block, scope, named, defaults in (
        ("teams", Scope.TEAM, settings.teams.items(), settings.defaults.team.limits),
        ("keys", Scope.KEY, settings.keys.items(), settings.defaults.key.limits),
    ):
        for name, said in named:
            if said.limits is not None or not said.limits_add:
                continue
            with contextlib.suppress(ValueError):  # what has no meaning was told above
                taken = {limit.id for limit in _compiled(defaults, scope, name, shared=True)}
                for index, limit in enumerate(_compiled(said.limits_add, scope, name)):
                    if limit.id in taken:
                        problem(
                            f"{block}.{name}.limits_add[{index}]",
                            f"goes by the same count as one of defaults ({limit.id});"
                            " give it a name, or write all of the limits under `limits`",
                        )


def _places(settings: Settings) -> Iterator[tuple[str, Sequence[LimitSettings], Scope, str, bool]]:
    """Every list of limits in a config, with its path.

    A list in `defaults` stands once, for all keys or teams that take it.
    """
    yield "limits", settings.limits, Scope.PROXY, "", False
    for name, upstream in settings.upstreams.items():
        yield f"upstreams.{name}.limits", upstream.limits, Scope.UPSTREAM, name, False
    yield "defaults.team.limits", settings.defaults.team.limits, Scope.TEAM, "*", True
    yield "defaults.key.limits", settings.defaults.key.limits, Scope.KEY, "*", True
    for block, scope, named in (
        ("teams", Scope.TEAM, settings.teams.items()),
        ("keys", Scope.KEY, settings.keys.items()),
    ):
        for name, said in named:
            path = f"{block}.{name}"
            yield f"{path}.limits", said.limits or (), scope, name, False
            yield f"{path}.limits_add", said.limits_add, scope, name, False
