"""A limit: a rule, whom it holds for, what its count goes by, and what happens at its end."""

from __future__ import annotations

import enum

import msgspec

from proxy.core.calendar import Per
from proxy.core.limits.dimensions import OTHERS
from proxy.core.limits.language import SMOOTH_MS, Rule, Unit, show
from proxy.core.model_names import matches_caseless

PPM = 1_000_000  # shares are counted in millionths: 80 % is 800_000
_VALUE = "\x1f"  # stands between a limit's count id and a value in it; no name holds it
_WINDOWED = (Per.DAY, Per.WEEK, Per.MONTH, Per.TOTAL)


class Scope(enum.StrEnum):
    """Whom a limit holds for."""

    PROXY = "proxy"
    UPSTREAM = "upstream"
    TEAM = "team"
    KEY = "key"


class Enforce(enum.StrEnum):
    """What happens when a limit is reached."""

    WARN = "warn"  # it is counted and told
    FINISH = "finish"  # the next request is refused; running answers finish
    CUT = "cut"  # the same, and a stream that outgrows the rest is ended
    STRICT = "strict"  # a request is let through only if all that it may use is left


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of one scope.

    `id` is the name given, else made from what it limits (`key:alice/tokens/day/gpt-*`). How much
    and how strictly is no part of it, so that a count goes on when they change. `count_id` is what
    the count goes by: under a name that now limits something else, another count begins.

    With a `dimension`, each value of it has a count: that of `of_value`, which has a `value`.

    `amount` and `burst` are in the unit, for money in nano-units. `warn_at_ppm` has ascending
    shares of the amount in millionths.
    """

    id: str
    count_id: str
    scope: Scope
    scope_id: str = ""  # the upstream's, team's or key's name; nothing for the proxy
    amount: int
    unit: Unit
    per: Per
    currency: str | None = None
    models: tuple[str, ...] = ()
    enforce: Enforce = Enforce.FINISH
    warn_at_ppm: tuple[int, ...] = ()
    burst: int | None = None
    dimension: str | None = None
    value: str | None = None

    @property
    def smooth(self) -> bool:
        """Whether it flows (per second, minute, hour)."""
        return self.per in SMOOTH_MS

    @property
    def windowed(self) -> bool:
        """Whether it is a budget: of a calendar period, or a total."""
        return self.per in _WINDOWED

    @property
    def shared(self) -> bool:
        """Whether others than the caller's team use it: their use is not the caller's to know."""
        return self.scope in (Scope.PROXY, Scope.UPSTREAM)

    @property
    def refuses(self) -> bool:
        return self.enforce is not Enforce.WARN

    @property
    def told_at_ppm(self) -> tuple[int, ...]:
        """The shares that are told when use reaches them: those to warn at, and all of a budget.

        Of a rate and of concurrent requests nothing is told but where they only warn.
        """
        if PPM in self.warn_at_ppm or (self.refuses and not self.windowed):
            return self.warn_at_ppm
        return (*self.warn_at_ppm, PPM)

    @property
    def rule(self) -> Rule:
        return Rule(self.amount, self.unit, self.per, self.currency, self.models, self.dimension)

    @property
    def rule_id(self) -> str:
        """The count id of the limit as the config has it, for whatever value."""
        return self.count_id if self.value is None else self.count_id.partition(_VALUE)[0]

    def of_value(self, value: str) -> Limit:
        """The limit of one value of its dimension."""
        assert self.value is None and self.dimension is not None, "values are of a rule's limit"
        return msgspec.structs.replace(
            self, count_id=f"{self.count_id}{_VALUE}{value}", value=value
        )

    def of_others(self) -> Limit:
        """The limit that all values beyond a store's bound share."""
        rule = msgspec.structs.replace(self, count_id=self.rule_id, value=None)
        return rule.of_value(OTHERS)

    def applies(self, model: str | None) -> bool:
        """Whether it holds for requests that name this model, in any letter case.

        None: they name no model.
        """
        return not self.models or (
            model is not None and any(matches_caseless(glob, model) for glob in self.models)
        )


def limit_of(
    rule: Rule,
    scope: Scope,
    scope_id: str = "",
    *,
    name: str = "",
    enforce: Enforce = Enforce.FINISH,
    warn_at_ppm: tuple[int, ...] = (),
    burst: int | None = None,
) -> Limit:
    """The limit of a scope that a rule makes.

    Raises ValueError for a setting that has no meaning for it.
    """
    if burst is not None:
        if rule.per not in SMOOTH_MS:
            raise ValueError("burst is for limits per second, minute or hour; remove it")
        if rule.amount == 0:
            raise ValueError(
                "burst would be used up once and never come back at an amount of 0; remove it"
            )
    if warn_at_ppm and rule.per not in _WINDOWED:
        raise ValueError("warn_at is for limits per day, week, month or total; remove it")
    if rule.dimension is not None and rule.per is Per.TOTAL:
        raise ValueError(
            "a total never ends, so the counts of its values would never end either; write /month"
        )
    derived = derived_id(rule, scope, scope_id)
    return Limit(
        id=name if name else derived,
        count_id=f"{name}={derived}" if name else derived,
        scope=scope,
        scope_id=scope_id,
        amount=rule.amount,
        unit=rule.unit,
        per=rule.per,
        currency=rule.currency,
        models=rule.models,
        enforce=enforce,
        warn_at_ppm=tuple(sorted(set(warn_at_ppm))),
        burst=burst,
        dimension=rule.dimension,
    )


def derived_id(rule: Rule, scope: Scope, scope_id: str) -> str:
    """The identity of a limit without a name. It holds a slash, which no name does."""
    what = rule.unit if rule.currency is None else rule.currency
    each = "" if rule.dimension is None else f"per:{rule.dimension}"
    parts = [scope_name(scope, scope_id), what, rule.per, each, ",".join(rule.models)]
    return "/".join(part for part in parts if part)


def scope_name(scope: Scope, scope_id: str) -> str:
    """`proxy`, `team:research`, `key:alice`."""
    return f"{scope}:{scope_id}" if scope_id else scope.value


def share_of(room: int, share_ppm: int) -> int:
    """The least use that is this share of the room."""
    return -(-max(room, 0) * share_ppm // PPM)


def shares_reached(limit: Limit, used: int, room: int) -> list[int]:
    """The shares to tell that this use of a budget has reached.

    There are none where a limit is written to let nothing through.
    """
    if room <= 0 and limit.refuses:
        return []
    return [share_ppm for share_ppm in limit.told_at_ppm if used >= share_of(room, share_ppm)]


def describe(limit: Limit) -> str:
    """The limit for a person: `60 requests/minute of key alice`."""
    whose = f"{limit.scope} {limit.scope_id}" if limit.scope_id else "the whole proxy"
    return f"{show(limit.rule)} of {whose}"


def share_ppm(percent: str) -> int:
    """Millionths of `80%` or `99.5%`, exact for at most four decimals."""
    whole, _, decimals = percent.removesuffix("%").partition(".")
    assert len(decimals) <= 4, "the config takes at most three decimals"
    return int(whole + decimals.ljust(4, "0"))
