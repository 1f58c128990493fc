"""Warns of what a config may say and hardly ever means, and tells what to write.

Units, secrets, addresses and names that others got wrong before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

from proxy.config.instants import instant_ms
from proxy.config.limits import rules_of
from proxy.config.secrets import guessable, no_key, other_syntax
from proxy.config.settings import Price, Settings, UpstreamTimeouts, timeouts_of
from proxy.config.vendors import in_the_clear, path_advice, rate_advice
from proxy.config.zones import surprise
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Limit, Scope
from proxy.core.model_names import overlaps

PER_MILLION = 1_000_000
# Per million tokens, of input or output: the cheapest model known costs ten times that.
RATE_MIN = Decimal("0.001")
RATE_MAX = Decimal(10_000)  # the dearest costs a tenth of that
# A thousand of others may be a usual price.
_LARGE_UNITS = frozenset({"USD", "EUR", "GBP", "CHF", "CNY", "CAD", "AUD", "SGD"})
MARKUP_MAX = Decimal(1)  # 100 %
DISCOUNT_MAX = Decimal("0.9")
_SECRET_NAME = re.compile(r"sk-|pk-|[A-Za-z0-9_-]{40,}$")
_REGEX = re.compile(r"\.\*|\.\+|\\|\||\(|^\^|\$$")


def warnings(settings: Settings, now_ms: int) -> Iterator[str]:
    """One sentence for each mistake."""
    yield from _upstreams(settings)
    yield from _secrets(settings)
    yield from _keys(settings, now_ms)
    yield from _globs(settings)
    yield from _shares(settings, now_ms)
    yield from _prices(settings, now_ms)
    yield from _rates_of_exchange(settings, now_ms)
    yield from _limits(settings)
    if (odd := surprise(settings.timezone)) is not None:
        yield f"timezone: {odd}"
    yield from _timeouts(settings)


def _upstreams(settings: Settings) -> Iterator[str]:
    for name, upstream in settings.upstreams.items():
        path = f"upstreams.{name}"
        if upstream.base_url and (advice := path_advice(upstream.base_url)) is not None:
            yield f"{path}.base_url {advice}"
        if upstream.base_url and in_the_clear(upstream.base_url):
            yield (
                f"{path}.base_url is http: keys and prompts cross the network in the clear; write"
                " https"
            )
        if (
            upstream.api_key
            and (fault := other_syntax(upstream.api_key) or no_key(upstream.api_key)) is not None
        ):
            yield f"{path}.api_key {fault}"


def _secrets(settings: Settings) -> Iterator[str]:
    vendors = {
        upstream.api_key: name for name, upstream in settings.upstreams.items() if upstream.api_key
    }
    for name, key in settings.keys.items():
        path = f"keys.{name}.secret"
        if _SECRET_NAME.match(name):
            yield (
                f"keys: {name[:6]}… looks like a key itself, and a key's name stands in logs,"
                " metrics and bills; name it for whom it is, and put the key into `secret`"
            )
        if not key.secret:
            continue
        if (fault := other_syntax(key.secret)) is not None:
            yield f"{path} {fault}"
        elif key.secret in vendors:
            yield (
                f"{path} is upstreams.{vendors[key.secret]}.api_key: callers that"
                " have it need no proxy; make one with `tollkeeper key hash --new`"
            )
        elif (why := guessable(key.secret)) is not None:
            yield f"{path} {why}, so it can be guessed; make one with `tollkeeper key hash --new`"


def _keys(settings: Settings, now_ms: int) -> Iterator[str]:
    teamless = [name for name, key in settings.keys.items() if key.team is None]
    if teamless and settings.teams:
        yield (
            f"keys: {_some(teamless)} name no team, so no team's limits, markup and bill include"
            f" them; add team: {next(iter(settings.teams))}"
        )
    for name, key in settings.keys.items():
        if key.expires is not None and instant_ms(key.expires, settings.timezone) <= now_ms:
            yield f"keys.{name}.expires is past ({key.expires}): the key is refused"


def _globs(settings: Settings) -> Iterator[str]:
    routes = [(route.model, route.upstream) for route in settings.routes]
    # Keys name what callers say, prices what the upstream is sent, limits either.
    sent = [(route.as_ or route.model, route.upstream) for route in settings.routes]
    named: list[tuple[str, str, Sequence[tuple[str, str]] | None, str | None]] = [
        (f"routes[{index}]", glob, None, None) for index, (glob, _) in enumerate(routes)
    ]
    named += [
        (f"keys.{name}.models", glob, routes, None)
        for name, key in settings.keys.items()
        for glob in key.models
    ]
    named += [
        (f"the limit {limit.id}", glob, routes + sent, _of_upstream(limit))
        for limit in rules_of(settings).configured()
        for glob in limit.models
    ]
    named += [
        (f"prices[{index}]", row.model, sent, row.upstream)
        for index, row in enumerate(settings.prices)
    ]
    named += [
        (f"upstreams.{name}.hidden_reasoning", glob, sent, name)
        for name, upstream in settings.upstreams.items()
        for glob in upstream.hidden_reasoning
    ]
    for path, glob, led_to, upstream in named:
        if _REGEX.search(glob):
            yield (
                f"{path}: {glob} looks like a regular expression; models are named with * and ?"
                " alone: gpt-*"
            )
        elif led_to and not any(
            overlaps(glob, model) for model, to in led_to if upstream in (None, to)
        ):
            where = "" if upstream is None else f" to upstreams.{upstream}"
            what = (
                "it holds only if a vendor answers under that name"
                if path.startswith("prices")
                else "it never holds"
            )
            yield (
                f"{path}: no route{where} leads to a model like {glob}, so {what}; correct it, or"
                " add the route"
            )


def _of_upstream(limit: Limit) -> str | None:
    return limit.scope_id if limit.scope == "upstream" else None


def _shares(settings: Settings, now_ms: int) -> Iterator[str]:
    named = [
        (f"upstreams.{name}.discount", it.discount, DISCOUNT_MAX)
        for name, it in settings.upstreams.items()
    ]
    named += [
        (f"teams.{name}.markup", it.markup, MARKUP_MAX) for name, it in settings.teams.items()
    ]
    for path, said, most in named:
        if (
            said
            and not isinstance(said, str)
            and _all_later([row.from_ for row in said], settings, now_ms)
        ):
            yield f"{path}: every row begins later, so until then it is 0; add a row without `from`"
        for rate in [said] if isinstance(said, str) else [row.rate for row in said]:
            share = Decimal(rate or "0")
            if most <= share and (most == MARKUP_MAX or share <= 1):  # a larger discount is refused
                percent = f"{(share * 100).normalize():f} %"
                what = (
                    f"adds {percent} to the cost"
                    if most == MARKUP_MAX
                    else f"takes {percent} off the price"
                )
                yield (
                    f"{path}: {rate} is a share, which {what}; {rate if share > 1 else '5'} % is"
                    f' written "{_share_of(rate if share > 1 else "5")}"'
                )


def _share_of(percent: str) -> str:
    return f"{(Decimal(percent) / 100).normalize():f}"


def _prices(settings: Settings, now_ms: int) -> Iterator[str]:
    for index, row in enumerate(settings.prices):
        path = f"prices[{index}] ({row.model})"
        low = [
            (name, rate)
            for name in ("input", "output")
            if (rate := _decimal(getattr(row, name))) and rate < RATE_MIN
        ]
        high = [
            name
            for name in (
                "input",
                "output",
                "cached",
                "cache_write",
                "cache_write_long",
                "reasoning",
            )
            if (_decimal(getattr(row, name)) or 0) > RATE_MAX
        ]
        currency = row.currency or settings.currency
        if low and currency in _LARGE_UNITS:
            name, rate = low[0]
            yield (
                f"{path}: {name} is {rate:f} {currency} for a million tokens, which looks like the"
                f' price of one; write "{(rate * PER_MILLION).normalize():f}"'
            )
        if high and currency in _LARGE_UNITS:
            yield (
                f"{path}: {high[0]} is over {RATE_MAX} {currency} for a million tokens; prices are"
                " per million"
            )
        yield from _odd_order(path, row)
    yield from _later(settings, now_ms)


def _odd_order(path: str, row: Price) -> Iterator[str]:
    plain, output, cached = (_decimal(getattr(row, name)) for name in ("input", "output", "cached"))
    if plain and output and plain > output:
        yield f"{path}: input costs more than output; check that they are not the wrong way round"
    if plain and cached and cached > plain:
        yield (
            f"{path}: cached input costs more than plain input; what is written to a cache is"
            " cache_write"
        )


def _later(settings: Settings, now_ms: int) -> Iterator[str]:
    """Models whose every row begins in the future, where no bundled table stands in."""
    begins: dict[tuple[str, str | None], list[str | None]] = {}
    for row in settings.prices:
        begins.setdefault((row.model, row.upstream), []).append(row.from_)
    sourced = {name for name, upstream in settings.upstreams.items() if upstream.price_source}
    earlier = [name for name, days in begins.items() if not _all_later(days, settings, now_ms)]
    for (model, upstream), days in begins.items():
        covered = any(
            overlaps(glob, model) and other in (None, upstream) for glob, other in earlier
        )
        if (
            _all_later(days, settings, now_ms)
            and not covered
            and upstream not in sourced
            and not (upstream is None and sourced)
        ):
            yield (
                f"prices of {model} begin on {min(day for day in days if day is not None)} at the"
                " earliest: until then it has no price; add a row without `from`"
            )


def _all_later(days: Sequence[str | None], settings: Settings, now_ms: int) -> bool:
    return all(day is not None and instant_ms(day, settings.timezone) > now_ms for day in days)


def _rates_of_exchange(settings: Settings, now_ms: int) -> Iterator[str]:
    for currency, rates in settings.fx.items():
        for index, row in enumerate(rates):
            if (
                row.rate
                and (advice := rate_advice(currency, settings.currency, row.rate)) is not None
            ):
                yield (
                    f"fx.{currency}[{index}].rate {advice}; write what 1 {currency} is worth in"
                    f" {settings.currency}"
                )
        if rates and _all_later([row.from_ for row in rates], settings, now_ms):
            yield (
                f"fx.{currency}: every rate begins later, so until then what is priced in"
                f" {currency} has no price; add a row without `from`"
            )


def _limits(settings: Settings) -> Iterator[str]:
    money = [
        limit.id
        for limit in rules_of(settings).configured()
        if limit.currency is not None and limit.refuses
    ]
    money += [
        entry.limit
        for entry in settings.defaults.key.limits
        if entry.limit and parse(entry.limit).currency is not None and entry.enforce != "warn"
    ]
    if (
        money
        and not settings.prices
        and not any(upstream.price_source for upstream in settings.upstreams.values())
    ):
        yield (
            f"limits: {money[0]} counts money and nothing has a price, so every request under it"
            " answers 403 model_not_priced; add `prices` or a price_source"
        )
    yield from _unbounded(settings)


def _unbounded(settings: Settings) -> Iterator[str]:
    """Limits whose values callers make up, where nothing bounds their key or team as a whole."""
    limits = rules_of(settings).configured()
    whole = {(limit.scope, limit.scope_id) for limit in limits if limit.dimension is None}
    bounds_all = any(scope is Scope.PROXY for scope, _ in whole)
    for limit in limits:
        owners = {(limit.scope, limit.scope_id)}
        if limit.scope is Scope.KEY and limit.scope_id in settings.keys:
            team = settings.keys[limit.scope_id].team
            owners |= set() if team is None else {(Scope.TEAM, team)}
        if limit.dimension is not None and not bounds_all and not owners & whole:
            yield (
                f"limits: {limit.id} counts each value apart, and callers choose the values:"
                f" nothing bounds {limit.scope} {limit.scope_id} as a whole; add a limit without"
                f" `per {limit.dimension}` beside it"
            )


def _timeouts(settings: Settings) -> Iterator[str]:
    named = {"timeouts": settings.timeouts}
    named |= {
        f"upstreams.{name}.timeouts": timeouts_of(settings, it)
        for name, it in settings.upstreams.items()
        if it.timeouts != UpstreamTimeouts()
    }
    for path, timeouts in named.items():
        for part, part_s in (("first_byte", timeouts.first_byte_s), ("idle", timeouts.idle_s)):
            if part_s > timeouts.total_s:
                yield f"{path}.{part} is longer than total, which ends the exchange before it"


def _decimal(text: str | None) -> Decimal | None:
    return Decimal(text) if text else None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
