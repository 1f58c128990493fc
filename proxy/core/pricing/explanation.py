"""Explains the amounts of a record: tokens × price row = cost.

The terms come from the ledger. All is exact: decimals are divided only by powers of ten.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from decimal import Context, Decimal

import msgspec

from proxy.core.model_names import sent_name
from proxy.core.money import decimal
from proxy.core.pricing.amounts import PARTS, parent_of, parts
from proxy.core.pricing.book import PriceBook, Quote
from proxy.core.pricing.option import answered_status
from proxy.core.pricing.pricelist import DAY_MINUTES, PriceRow
from proxy.core.usage import FREE, UsageRecord

# Digits: more than tokens, rate, discount, exchange rate and markup have together.
_EXACT = Context(prec=200)
_MILLION = 6  # decimal places of "per million"


class ChargedPart(msgspec.Struct, frozen=True):
    """One product: `count` times `rate` is `amount`, in the row's currency.

    The rate of tokens is per million.
    """

    name: str
    count: int
    rate: str
    amount: str
    per_million: bool


class Explanation(msgspec.Struct, frozen=True):
    """The row, the products, and the amounts from their sum.

    `as_booked`: these are exactly the amounts of the record. `model_sent`: the name that the
    upstream was sent, where the model that was asked for is an alias.
    """

    price_version: str
    currency: str
    row: PriceRow
    parts: tuple[ChargedPart, ...]
    discount: str
    fx_rate: str | None
    markup: str
    cost_original_nano: int | None
    cost_nano: int | None
    charge_nano: int | None
    as_booked: bool
    unknown_because: str | None
    model_sent: str | None = None


def explain(record: UsageRecord, book: PriceBook, images: int | None = None) -> Explanation | None:
    """Work the record's amounts out again, by the book of its version.

    None if the book has no row for it, or its path is free. `images` is how many the request had,
    if that does not follow from the record.
    """
    quote = book.quote(
        upstream=record.upstream,
        team=record.team,
        model_requested=record.model_requested,
        model_served=record.model_served,
        service_tier=record.service_tier,
        input_tokens=record.input_tokens,
        at_ms=record.started_at_ms,
    )
    if quote is None or record.reason == FREE:
        return None
    images = book.images_of(record) if images is None else images
    priced = book.price_record(record, images)
    found = (priced.cost_nano, priced.charge_nano, priced.cost_original_nano)
    booked = (record.cost_nano, record.charge_nano, record.cost_original_nano)
    # Original costs in two currencies have no sum, so an adjustment between them has none.
    compared = 2 if record.cost_original_nano is None and record.cost_nano is not None else 3
    unknown = priced.cost_nano is None
    return Explanation(
        price_version=book.version,
        currency=book.currency,
        row=quote.row,
        parts=tuple(_products(record, quote.row, images)),
        discount=quote.discount,
        fx_rate=quote.fx_rate,
        markup=quote.markup,
        cost_original_nano=priced.cost_original_nano,
        cost_nano=priced.cost_nano,
        charge_nano=priced.charge_nano,
        as_booked=found[:compared] == booked[:compared],
        unknown_because=_unknown_because(record, quote, images) if unknown else None,
        model_sent=_sent(record, book),
    )


def lines(found: Explanation, zone: tzinfo) -> list[tuple[str, str]]:
    """The explanation for people, one step a line."""
    own, currency = found.row.currency, found.currency
    shown = [] if found.model_sent is None else [("sent as", found.model_sent)]
    shown.append(("row", name_of(found.row, zone)))
    for part in found.parts:
        per = " / 1,000,000" if part.per_million else ""
        shown.append((part.name, f"{part.count:,} × {part.rate} {own}{per} = {part.amount} {own}"))
    if found.discount != "0":
        shown.append(("discount", f"× (1 − {found.discount})"))
    if found.cost_original_nano is not None:
        shown.append(("vendor bills", f"= {decimal(found.cost_original_nano, grouped=True)} {own}"))
    if found.fx_rate is not None:
        shown.append(("exchange", f"× {found.fx_rate} {currency}/{own}"))
    if found.cost_nano is not None:
        shown.append(("cost", f"= {decimal(found.cost_nano, grouped=True)} {currency}"))
    if found.markup != "0":
        shown.append(("markup", f"× (1 + {found.markup})"))
    if found.charge_nano is not None:
        shown.append(
            (
                "charge",
                f"= {decimal(found.charge_nano, grouped=True)} {currency}, each rounded once, from "
                "the exact value",
            )
        )
    if found.unknown_because is not None:
        shown.append(("unknown", found.unknown_because))
    if not found.as_booked:
        shown.append(
            (
                "differs",
                "the record says other amounts than these: `tollkeeper ledger verify` tells "
                "whether it was changed",
            )
        )
    return shown


def charge_lines(found: Explanation) -> list[tuple[str, str]]:
    """What a team is told: tokens × the rates that it is charged = charge.

    The vendor's rates, discount and markup are inside these rates and not told.
    """
    factor = _charged(found.discount, found.fx_rate, found.markup)
    currency = found.currency
    shown = [] if found.model_sent is None else [("sent as", found.model_sent)]
    known = found.fx_rate is not None or found.row.currency == currency
    for part in found.parts if known else ():
        rate = _plain(_EXACT.multiply(Decimal(part.rate), factor))
        amount = _plain(_EXACT.multiply(Decimal(part.amount), factor))
        per = " / 1,000,000" if part.per_million else ""
        shown.append((part.name, f"{part.count:,} × {rate} {currency}{per} = {amount} {currency}"))
    if found.charge_nano is not None:
        charge = decimal(found.charge_nano, grouped=True)
        shown.append(("charge", f"= {charge} {currency}, rounded once, from the exact value"))
    if found.unknown_because is not None:
        shown.append(("unknown", found.unknown_because))
    if not found.as_booked:
        shown.append(("differs", "the record says another amount: tell your operator"))
    return shown


def name_of(row: PriceRow, zone: tzinfo) -> str:
    """A row in one line: for what, when, from where."""
    words = [row.model]
    if row.upstream is not None:
        words.append(f"at {row.upstream}")
    if row.service_tier is not None:
        words.append(f"in tier {row.service_tier}")
    if row.above_input_tokens is not None:
        words.append(f"above {row.above_input_tokens:,} input tokens")
    if row.hours_utc is not None:
        words.append(f"{hours(row.hours_utc)} UTC")
    if row.from_ms is not None:
        words.append(f"from {day(row.from_ms, zone)}")
    return f"{' '.join(words)} ({row.source})"


def day(from_ms: int, zone: tzinfo) -> str:
    """The day that begins at that moment in the zone; if none does, the moment."""
    moment = datetime.fromtimestamp(from_ms // 1000, UTC).astimezone(zone)
    return (
        moment.date().isoformat()
        if (moment.hour, moment.minute) == (0, 0)
        else moment.isoformat(timespec="minutes")
    )


def hours(span: tuple[int, int]) -> str:
    """`16:30-00:30` as config.yaml writes it."""
    start, end = span
    end = DAY_MINUTES if end == 0 else end
    return f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"


def rate_of(row: PriceRow, name: str) -> str | None:
    """The rate of a part: its own, else that of the whole it belongs to."""
    rates = row.rates()
    return rates.get(name, rates.get(parent_of(name) or name))


def effective(quote: Quote, name: str) -> tuple[str | None, str | None]:
    """(cost, charge) of a million tokens of a part, an image or a request.

    They are in the book's currency, and None without an exchange rate.
    """
    rate = rate_of(quote.row, name)
    if rate is None or quote.fx_missing:
        return None, None
    cost = _EXACT.multiply(Decimal(rate), _charged(quote.discount, quote.fx_rate, "0"))
    charge = _EXACT.multiply(Decimal(rate), _charged(quote.discount, quote.fx_rate, quote.markup))
    return _plain(cost), _plain(charge)


def _charged(discount: str, fx_rate: str | None, markup: str) -> Decimal:
    """What a vendor's amount is multiplied with; without an exchange rate it stays in its own."""
    factor = _EXACT.subtract(Decimal(1), Decimal(discount))
    if fx_rate is not None:
        factor = _EXACT.multiply(factor, Decimal(fx_rate))
    return _EXACT.multiply(factor, _EXACT.add(Decimal(1), Decimal(markup)))


def _products(record: UsageRecord, row: PriceRow, images: int | None) -> list[ChargedPart]:
    found = []
    for name, count in zip(PARTS, parts(record) or (), strict=False):
        rate = rate_of(row, name)
        if count and rate is not None:
            amount = _EXACT.multiply(Decimal(count), Decimal(rate)).scaleb(-_MILLION, _EXACT)
            found.append(ChargedPart(name, count, rate, _plain(amount), True))
    status = answered_status(record)
    if status is not None and 200 <= status < 300:
        for name, fee, number in (("image", row.image, images), ("request", row.request, 1)):
            if fee not in (None, "0") and number is not None:
                found.append(
                    ChargedPart(
                        name,
                        number,
                        fee,
                        _plain(_EXACT.multiply(Decimal(number), Decimal(fee))),
                        False,
                    )
                )
    return found


def _unknown_because(record: UsageRecord, quote: Quote, images: int | None) -> str:
    tokens = parts(record)
    if tokens is None:
        return "the token counts are not known"
    for name, count in zip(PARTS, tokens, strict=True):
        if count and rate_of(quote.row, name) is None:
            return f"the row has no price for {name} tokens"
    if quote.row.image not in (None, "0") and images is None:
        return "the row has a price for images, and nobody counted them"
    if quote.fx_missing:
        return f"there was no exchange rate for {quote.row.currency} at that time"
    return "the amount is larger than a ledger can hold"


def _sent(record: UsageRecord, book: PriceBook) -> str | None:
    """The name that the upstream was sent, if it is another one than was asked for."""
    asked = record.model_requested
    sent = None if asked is None else sent_name(book.content.aliases, record.upstream, asked)
    return None if sent == asked else sent


def _plain(amount: Decimal) -> str:
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
