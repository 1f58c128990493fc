"""Which limits to list: those that hold for one team or key, page by page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from proxy.config.fields import NAMES_ALIKE
from proxy.config.settings import Settings
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.limits.limit import Limit, Scope
from proxy.core.limits.state import LimitState
from proxy.core.spelling import nearest
from proxy.quota.status import taken_ppm

_Place = tuple[int, str, str]  # the share used as a negative number, the id, the count id


class LimitPage(msgspec.Struct, frozen=True):
    """States in the order of the list; `next`: what stands behind them, None at the end."""

    states: Sequence[LimitState]
    next: str | None


def holding(
    settings: Settings, team: str | None, key: str | None, limits: Iterable[Limit]
) -> Callable[[Limit], bool]:
    """Tells the limits that hold for a team or a key: its own and those of all who share them.

    Those of the proxy and of upstreams are everybody's; a key has its team's, too. Without a name
    every limit is told. `limits` are all there are: a key that no config names may have some.
    Raises ProxyError 400 for both at once, 404 for a name that is not known.
    """
    if team is not None and key is not None:
        raise invalid_request("Ask for a team or for a key: not for both.", param="key")
    if team is None and key is None:
        return lambda _: True
    owners: set[tuple[Scope, str]] = set()
    if team is not None:
        _known("team", team, settings.teams.keys() | _owners(limits, Scope.TEAM))
        owners.add((Scope.TEAM, team))
    if key is not None:
        _known("key", key, settings.keys.keys() | _owners(limits, Scope.KEY))
        owners.add((Scope.KEY, key))
        its_team = settings.keys[key].team if key in settings.keys else None
        if its_team is not None:
            owners.add((Scope.TEAM, its_team))
    return lambda limit: limit.shared or (limit.scope, limit.scope_id) in owners


def page(states: Iterable[LimitState], after: str | None, most: int | None) -> LimitPage:
    """The fullest first, behind the place `after`, at most so many; None: all of them.

    Raises ProxyError 400 where `after` is nothing that a page ended with.
    """
    behind = None if after is None else _read(after)
    placed = sorted(((_place(state), state) for state in states), key=lambda one: one[0])
    rest = [one for one in placed if behind is None or one[0] > behind]
    given = rest if most is None else rest[:most]
    more = len(given) < len(rest)
    return LimitPage([state for _, state in given], _written(given[-1][0]) if more else None)


def _owners(limits: Iterable[Limit], scope: Scope) -> set[str]:
    return {limit.scope_id for limit in limits if limit.scope is scope}


def _known(kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        close = nearest(name, known, NAMES_ALIKE)
        hint = f"; the nearest is {close}" if close is not None else ""
        raise ProxyError(
            404,
            "invalid_request_error",
            f"{kind}_not_found",
            f"There is no {kind} {name[:200]!r}, or it was revoked{hint}. `tollkeeper {kind} list` "
            "names all.",
            param=kind,
        )


def _place(state: LimitState) -> _Place:
    return -taken_ppm(state), state.limit.id, state.limit.count_id


def _written(place: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _read(text: str) -> _Place:
    try:
        padded = text + "=" * (-len(text) % 4)
        told = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
        place: _Place = msgspec.json.decode(told, type=_Place)
    except (ValueError, msgspec.DecodeError) as error:
        raise invalid_request(
            "after is the `next` of the page before, as it was given.", param="after"
        ) from error
    return place
