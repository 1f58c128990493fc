"""The language of limits: `<amount> <unit>[/<per>][ per <what>][ for <models>]`, both ways.

Such as "60 requests/minute", "500 USD/month for gpt-*" or "5 USD/day per end_user". A sentence
that says what is wrong with a text does not quote it, since it may be a secret in the wrong place.
"""

from __future__ import annotations

import enum
import re

import msgspec

from proxy.core.calendar import Per
from proxy.core.limits.dimensions import dimension
from proxy.core.money import NANO_DIGITS, decimal
from proxy.core.spelling import nearest

# Digits of requests, tokens or whole units of money: what an HTTP structured field can show.
AMOUNT_DIGITS_MAX = 15
_FORM = re.compile(
    r"\s*([0-9]+(?:_[0-9]+)*)(?:\.([0-9]+))?\s+([^\s/]+)(?:\s*/\s*(\S+))?(?:\s+per\s+(\S+))?(?:\s+for\s+(\S.*?))?\s*"
)
_CURRENCY = re.compile(r"[A-Z]{3}")


class Unit(enum.StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    CONCURRENT = "concurrent"  # requests in flight
    MONEY = "money"  # charge, in nano-units of a currency; written as the currency's code


SMOOTH_MS = {Per.SECOND: 1_000, Per.MINUTE: 60_000, Per.HOUR: 3_600_000}
# How people write periods, currencies and rates elsewhere.
_SHORT_PERIODS = {
    short: per
    for per, shorts in {
        "second": "s sec secs seconds",
        "minute": "m min mins minutes minutely",
        "hour": "h hr hrs hours hourly",
        "day": "d days daily 24h 1d",
        "week": "w wk weeks weekly 7d",
        "month": "mo mon months monthly 30d 1mo",
        "total": "lifetime ever all forever none unlimited overall",
    }.items()
    for short in shorts.split()
}
_CURRENCIES = {
    word: code
    for code, words in {
        "USD": "usd us$ $ dollar dollars",
        "EUR": "eur € euro euros",
        "GBP": "gbp £ pound pounds",
        "CNY": "cny rmb ¥ yuan renminbi",
        "JPY": "jpy yen",
        "INR": "inr ₹ rupee rupees",
        "KRW": "krw ₩ won",
        "CHF": "chf",
        "CAD": "cad",
        "AUD": "aud",
        "HKD": "hkd",
        "SGD": "sgd",
        "TWD": "twd",
        "BRL": "brl",
    }.items()
    for word in words.split()
}
_RATES = {
    "rpm": "60 requests/minute",
    "rps": "5 requests/second",
    "rph": "1000 requests/hour",
    "rpd": "1000 requests/day",
    "tpm": "100_000 tokens/minute",
    "tpd": "2_000_000 tokens/day",
    "tps": "1000 tokens/second",
    "qps": "5 requests/second",
}
_HABITS = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in {
        r"\s*[$€£¥₹₩]\s*[0-9].*": "the currency stands behind the amount, as its code",
        r"\s*[0-9][0-9_]*\s*[km]\b.*": "write the amount out: 100_000",
        r"\s*[0-9]{1,3}(?:,[0-9]{3})+\b.*": "write thousands with underscores: 100_000",
        r"\s*[0-9][0-9_.]*[a-z$€£¥].*": "a blank stands between amount and unit",
        r"\s*[0-9][0-9_.]*\s+\S+\s+(?:per|a|an|each|every)\s+\S+.*": "write / for per",
        r"\s*(?:unlimited|none|no|off|inf|infinite|-1)\b.*": (
            "leave a limit out that is not to hold"
        ),
    }.items()
)
_SIGN_FIRST = re.compile(r"([$€£¥₹₩])\s*([0-9][0-9_.,]*)")
_NO_BLANK = re.compile(r"\A([0-9][0-9_.,]*)(?=[^\s0-9_.,])")
_LOOSE = re.compile(
    r"([0-9][0-9_.,]{0,20})\s+([^\s/]+)(?:\s*/\s*|\s+(?:per|a|an|each|every)\s+)(\S+)(\s.*)?",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")
_COUNTED = tuple(unit.value for unit in Unit if unit is not Unit.MONEY)
_PERIODS = tuple(per.value for per in Per if per is not Per.NONE)


class Rule(msgspec.Struct, frozen=True):
    """What a limit's text says.

    `amount` is in its unit, of money in nano-units of `currency`. No `models` means all of them.
    """

    amount: int
    unit: Unit
    per: Per
    currency: str | None = None
    models: tuple[str, ...] = ()
    dimension: str | None = None  # each value of it has a count of its own


def parse(text: str) -> Rule:
    """The rule that a text states. Raises ValueError with a sentence that says what is expected."""
    try:
        return _read(text)
    except ValueError as error:
        written = _right_writing(text)
        raise ValueError(f'{error}; write "{written}"' if written else str(error)) from error


def _read(text: str) -> Rule:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(_misformed(text))
    whole, decimals, word, period, what, models = match.groups()
    if period is None and what is not None and _is_period(what):
        raise ValueError(_misformed(text))
    faults = [fault for fault in (_unit_fault(word), _period_fault(word, period)) if fault]
    if faults:
        raise ValueError("; ".join(faults))
    unit = Unit.MONEY if _CURRENCY.fullmatch(word) else Unit(word)
    per = Per.NONE if period is None else Per(period)
    return Rule(
        _amount(unit, whole, decimals),
        unit,
        per,
        word if unit is Unit.MONEY else None,
        _models(models),
        None if what is None else dimension(what),
    )


def _is_period(word: str) -> bool:
    return word.lower() in _PERIODS or word.lower() in _SHORT_PERIODS


def _misformed(text: str) -> str:
    """What is wrong with a text that is no amount, unit and period at all."""
    expected = (
        'expected "<amount> <unit>/<per>[ for <models>]", such as "60 requests/minute", "500'
        ' USD/month for gpt-*" or "8 concurrent"'
    )
    for pattern, advice in _HABITS:
        if pattern.fullmatch(text):
            return f"{expected}; {advice}"
    return expected


def _right_writing(text: str) -> str | None:
    """How a limit is to be written; None where that is not known.

    It holds a number and words of this language alone, and a sign for what stands behind them.
    """
    plain = _SIGN_FIRST.sub(r"\2 \1", text.strip())
    plain = _NO_BLANK.sub(r"\1 ", plain)
    match = _LOOSE.fullmatch(plain)
    if match is None:
        return None
    number, word, period, more = match.groups()
    if _THOUSANDS.fullmatch(number):
        number = number.replace(",", "_")
    lower = word.lower()
    unit = _CURRENCIES.get(lower, lower)
    written = f"{number} {unit}/{_SHORT_PERIODS.get(period.lower(), period.lower())}"
    try:
        _read(written)
    except ValueError:
        return None
    if text.strip().startswith(written):
        return None  # the fault is elsewhere
    return f"{written} …" if more else written


def _unit_fault(word: str) -> str | None:
    """None for a unit; else what to write instead."""
    if _CURRENCY.fullmatch(word) or word in _COUNTED:
        return None
    lower = word.lower()
    if lower in _RATES:
        return f'no such unit; write "{_RATES[lower]}"'
    if lower in _CURRENCIES:
        return f"no such unit; a currency is written with its code: {_CURRENCIES[lower]}"
    return (
        f"no such unit; the nearest known one is {nearest(lower, _COUNTED)} (or a currency code"
        " such as USD)"
    )


def _period_fault(word: str, period: str | None) -> str | None:
    """None for a period that the unit takes; else what to write instead."""
    if word == Unit.CONCURRENT:
        return None if period is None else 'concurrent takes no period: write "8 concurrent"'
    if word.lower() in _RATES and period is None:
        return None  # the unit's fault says it all
    money = _CURRENCY.fullmatch(word) is not None or word.lower() in _CURRENCIES
    possible = [per for per in _PERIODS if not money or Per(per) not in SMOOTH_MS]
    if period is None:
        return f"say per what: one of {', '.join(possible)}"
    if period in possible:
        return None
    close = _SHORT_PERIODS.get(period.lower()) or nearest(period.lower(), _PERIODS)
    if money and (period in _PERIODS or close not in possible):
        return f"money needs a calendar period or total: {', '.join(possible)}"
    return f"no such period; the nearest known one is {close}: one of {', '.join(possible)}"


def _amount(unit: Unit, whole: str, decimals: str | None) -> int:
    digits = whole.replace("_", "").lstrip("0")
    if len(digits) > AMOUNT_DIGITS_MAX:
        raise ValueError(f"expected an amount of at most {AMOUNT_DIGITS_MAX} digits")
    if unit is not Unit.MONEY:
        if decimals is not None:
            raise ValueError("only money may have decimals; write a whole number")
        return int(digits or "0")
    fraction = decimals if decimals is not None else ""
    if len(fraction) > NANO_DIGITS:
        raise ValueError(f"money has at most {NANO_DIGITS} decimals; it is counted in billionths")
    return int(digits + fraction.ljust(NANO_DIGITS, "0"))


def _models(text: str | None) -> tuple[str, ...]:
    """Each glob once, in one order.

    Their order means nothing, so it must not make another limit.
    """
    if text is None:
        return ()
    globs = [part.strip() for part in text.split(",")]
    if not all(glob and not any(map(str.isspace, glob)) for glob in globs):
        raise ValueError("models are separated by commas, without an empty one: for gpt-*,o3-*")
    return tuple(sorted(set(globs)))


def show(rule: Rule) -> str:
    """The rule as text; `parse` reads it as the same rule."""
    period = "" if rule.per is Per.NONE else f"/{rule.per}"
    what = "" if rule.dimension is None else f" per {rule.dimension}"
    models = f" for {', '.join(rule.models)}" if rule.models else ""
    return f"{show_amount(rule.amount, rule.unit, rule.currency)}{period}{what}{models}"


def show_amount(amount: int, unit: Unit, currency: str | None) -> str:
    """`60 requests`, `8 concurrent`, `0.50 USD`: an amount with its unit."""
    return f"{show_money(amount)} {currency}" if unit is Unit.MONEY else f"{amount} {unit}"


def show_money(amount_nano: int) -> str:
    """Nano-units as an exact decimal with the digits that it needs: none, or at least two."""
    return decimal(amount_nano).removesuffix(".00")
