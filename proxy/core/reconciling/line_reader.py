"""Reads the rows of a file of a known shape as lines of a bill. Pure: rows in, lines out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Final

import msgspec

from proxy.core.money import NANO
from proxy.core.reconciling.decimal_marks import DecimalMark
from proxy.core.reconciling.figures import Figure, figure, sign_of
from proxy.core.reconciling.items import REQUESTS, About, about
from proxy.core.reconciling.lines import TOKEN_ITEMS, VendorLine
from proxy.core.reconciling.moments import HOUR_MS, MINUTE_MS, CellTime, Width, when
from proxy.core.reconciling.shapes import Chosen

_TOTALS: Final = frozenset(
    "total totals subtotal sum grand_total grand__total all all_models 合计 总计 小计 汇总 共计 "
    "合計 总费用 summe gesamt gesamtsumme somme totale totaal suma razem итого".split()
)
_TOTAL_OF: Final = ("total ", "total(", "grand total", "sum of", "subtotal")  # `Total (USD)`
# What databases and spreadsheets write where there is nothing.
_NOTHING: Final = frozenset(
    ("", "null", "NULL", "None", "\\N", "-", "--", "–", "—", "N/A", "n/a", "#N/A", "nan", "NaN")
)
_TRUE: Final = frozenset("true 1 yes t y".split())
# FOCUS's categories, and what others call a line that no request makes.
_NOT_ASKED: Final = frozenset("credit tax purchase adjustment refund discount topup".split())
# Products of Alibaba Cloud whose lines are of language models.
_OWN_PRODUCTS: Final = ("百炼", "model studio", "modelstudio", "大模型", "dashscope", "灵积")
_TIERS: Final = {"true": "batch", "1": "batch"}
_USUAL_TIERS: Final = frozenset(("", "default", "standard", "message", "auto", "on_demand"))
# How many tokens a unit of quantity is; what has another unit counts no tokens.
_UNITS: Final[Mapping[str, int]] = {
    "": 1,
    "token": 1,
    "tokens": 1,
    "个": 1,
    "1000_tokens": 1_000,
    "1k_tokens": 1_000,
    "1k": 1_000,
    "ktokens": 1_000,
    "k_tokens": 1_000,
    "thousand_tokens": 1_000,
    "千token": 1_000,
    "千tokens": 1_000,
    "千个token": 1_000,
    "1m_tokens": 1_000_000,
    "1m": 1_000_000,
    "million_tokens": 1_000_000,
    "百万token": 1_000_000,
    "百万tokens": 1_000_000,
}
# Kinds of a charge that say no more than its item does.
_PLAIN_CHARGES: Final = frozenset(("token", "tokens"))
_VALUE_MAX: Final = 1 << 62  # of billionths: 4.6 billion of a currency
_BEYOND: Final = ValueError("is beyond what a bill can say")
_BEGIN_NUMBERS: Final = frozenset("-.0123456789")
NAME_CHARS_MAX: Final = 500
_TOO_LONG: Final = ValueError(f"has more than {NAME_CHARS_MAX} characters: no name has")
_TODO: Final = ". Correct the line, or leave the column out with --mapping"
# FOCUS's category of what models cost, and services that are billed in others.
_OWN_CATEGORY: Final = "ai and machine learning"
_OWN_SERVICES: Final = (
    "bedrock openai anthropic claude gemini vertex mistral cohere deepseek foundry cognitive qwen"
).split()


class UnreadableBill(ValueError):
    """A file, or a line of it, that cannot be what was said. The message says what to do."""


class LeftOut(msgspec.Struct, frozen=True):
    """A row that is no line of the bill, and why; its amount if it has one."""

    reason: str
    amount_nano: int = 0


class LineReader:
    """Reads rows of one shape.

    `zone`: of times without an offset. `mark`: of the file's numbers. `day_first`: see `when`.
    """

    def __init__(
        self,
        chosen: Chosen,
        zone: tzinfo,
        currency: str | None,
        *,
        mark: DecimalMark | None = None,
        day_first: bool | None = None,
    ) -> None:
        self._shape = chosen.shape
        self._places = chosen.places
        self._zone = zone
        self._currency = currency
        self._mark = DecimalMark() if mark is None else mark
        self._day_first = day_first

    def look(self, row: Mapping[str, str]) -> None:
        """Notes what a row tells of the file's numbers, before rows are read."""
        for field in ("amount", "price"):
            if (column := self._places.get(field)) is not None:
                self._mark.look(row.get(column, ""))

    def check(self) -> None:
        """Raise UnreadableBill where numbers have two meanings. Call it behind the last row."""
        try:
            self._mark.check()
        except ValueError as error:
            raise UnreadableBill(f"A number {error}") from error

    def read(self, number: int, row: Mapping[str, str]) -> VendorLine | LeftOut:
        """The line that a row is, or why it is none. Raises UnreadableBill."""
        cells = {
            field: row[column].strip()
            for field, column in self._places.items()
            if row.get(column, "").strip() not in _NOTHING
        }
        if (reason := self._no_line(cells, row)) is not None:
            return reason
        for field in ("id", "model", "item"):
            if len(cells.get(field, "")) > NAME_CHARS_MAX:
                raise self._problem(number, field, cells[field], _TOO_LONG)
        kind = cells.get("kind", "").casefold()
        if (
            self._shape.kinds is not None
            and "kind" in self._places
            and kind not in self._shape.kinds
        ):
            return LeftOut("lines that are no use (top-ups, errors, the system's)")
        at = self._when(number, cells)
        said = about(self._shape.items, self._item(cells))
        if self._shape.items == "dashscope" and said.model is None:
            product = cells.get("product", "").casefold()
            if product and not any(name in product for name in _OWN_PRODUCTS):
                return LeftOut("lines of other products", self._amount(number, cells)[0] or 0)
        if "category" in cells and _is_other_service(cells):
            return LeftOut("lines of other services", self._amount(number, cells)[0] or 0)
        return self._line(number, cells, at, said, kind)

    def _line(
        self, number: int, cells: Mapping[str, str], at: CellTime, said: About, kind: str
    ) -> VendorLine | LeftOut:
        amount, unit = self._amount(number, cells)
        if kind in self._shape.refunds and amount is not None:
            amount = -abs(amount)
        quantity = self._quantity(number, cells)
        counts = {
            name: self._count(number, cells, name)
            for name in "requests input uncached cached cache_write cache_write_long output".split()
        }
        if said.item == REQUESTS:
            counts["requests"], amount, quantity = quantity, 0, None
        elif said.item in TOKEN_ITEMS and quantity is not None:
            counts["output" if said.item == "output" else "input"] = quantity
            if said.item == "cached":
                counts["cached"] = quantity
        inputs = counts["input"]
        if "details" in cells:
            counts["cached"] = _cached_of(cells["details"])
        if inputs is None and (parts := self._parts(counts)):
            inputs = sum(parts)
        if amount is None and all(count is None for count in (inputs, counts["output"])):
            return LeftOut("rows without an amount and without tokens")
        model = cells.get("model") or said.model
        # A negative line of no model is a credit; what is negative for a model corrects its lines.
        asks = said.asks and kind not in _NOT_ASKED and not (model is None and (amount or 0) < 0)
        return VendorLine(
            number=number,
            at_ms=at.start_ms,
            width=at.width,
            id=cells.get("id"),
            model=model,
            item=REQUESTS if said.item == REQUESTS else said.item if asks else kind or "credit",
            amount_nano=amount,
            unit_nano=unit,
            currency=self._currency_of(number, cells),
            requests=counts["requests"],
            input_tokens=inputs,
            cached_tokens=counts["cached"],
            output_tokens=counts["output"],
            tier=self._tier(cells, said),
            cancelled=cells.get("cancelled", "").casefold() in _TRUE,
            asks=asks,
            end_ms=at.end_ms,
        )

    def _no_line(self, cells: Mapping[str, str], row: Mapping[str, str]) -> LeftOut | None:
        """Totals, repeated heads and empty rows."""
        if not cells:
            return LeftOut("empty rows")
        if all(row.get(column, "").strip() == column.strip() for column in self._places.values()):
            return LeftOut("repeated heads")
        words = {
            text.strip().casefold().strip(":：").replace(" ", "_")
            for text in (*list(row.values())[:2], cells.get("at", ""), cells.get("model", ""))
            if text is not None
        }
        if words & _TOTALS or cells.get("at", "").casefold().startswith(_TOTAL_OF):
            return LeftOut("lines of totals")
        if "at" not in cells:
            try:
                amount = figure(cells.get("amount", "0"))
            except ValueError:
                return LeftOut("rows without a time")
            return LeftOut("rows without a time", amount.nano(self._shape.divisor))
        return None

    def _when(self, number: int, cells: Mapping[str, str]) -> CellTime:
        at = self._moment(number, cells, "at")
        width = at.width if self._shape.width is None else max(at.width, self._shape.width)
        if "end" not in cells or "id" in cells:  # a request is at the time of its start
            return CellTime(at.start_ms, width)
        # Some say 23:59:59 of the last day, or its date.
        end = self._moment(number, cells, "end")
        end_ms = -(-(end.start_ms + 1) // MINUTE_MS) * MINUTE_MS
        end_ms -= MINUTE_MS * (end.start_ms % MINUTE_MS == 0)
        width = _width(at.width, end_ms - at.start_ms)
        return CellTime(at.start_ms, width, end_ms if width is Width.MONTH else None)

    def _moment(self, number: int, cells: Mapping[str, str], field: str) -> CellTime:
        try:
            return when(cells[field], self._zone, day_first=self._day_first)
        except ValueError as error:
            raise self._problem(number, field, cells[field], error) from error

    def _amount(self, number: int, cells: Mapping[str, str]) -> tuple[int | None, int]:
        """(amount, the step in which it is written), in nano-units: None if the line has none."""
        if "amount" in cells:
            found = self._figure(number, cells, "amount")
            parts = self._shape.divisor * 10**found.places
            nano = found.nano(self._shape.divisor)
            return self._bounded(number, cells, "amount", nano), NANO // parts
        if "price" in cells and "quantity" in cells:
            price, count = (
                self._figure(number, cells, "price"),
                self._figure(number, cells, "quantity"),
            )
            product = Figure(price.number * count.number, price.places + count.places)
            nano = self._bounded(number, cells, "quantity", product.nano())
            return nano, NANO // 10**product.places
        return None, 0

    def _bounded(self, number: int, cells: Mapping[str, str], field: str, value: int) -> int:
        """The value. Raises UnreadableBill where it is no amount and no count, but a mistake."""
        if abs(value) > _VALUE_MAX:
            raise self._problem(number, field, cells[field], _BEYOND)
        return value

    def _item(self, cells: Mapping[str, str]) -> str | None:
        """The text that names the part of the use."""
        if self._shape.items == "deepseek":
            return cells.get("kind")
        charge = cells.get("charge")
        return cells.get("item") or (None if charge in _PLAIN_CHARGES else charge)

    def _quantity(self, number: int, cells: Mapping[str, str]) -> int | None:
        """How many tokens, or requests, the line is about; None where it counts something else."""
        unit = cells.get("unit", "").casefold().replace(" ", "_")
        if "quantity" not in cells or unit not in _UNITS:
            return None
        try:
            found = self._read(number, cells["quantity"], whole=True)
        except ValueError:
            return None
        whole, rest = divmod(found.number * _UNITS[unit], 10**found.places)
        return None if rest or abs(whole) > _VALUE_MAX else whole

    def _count(self, number: int, cells: Mapping[str, str], field: str) -> int | None:
        if field not in cells:
            return None
        try:
            value = self._figure(number, cells, field).whole()
            return self._bounded(number, cells, field, value)
        except ValueError as error:
            if isinstance(error, UnreadableBill):
                raise
            raise self._problem(number, field, cells[field], error) from error

    def _figure(self, number: int, cells: Mapping[str, str], field: str) -> Figure:
        try:
            return self._read(number, cells[field], whole=field not in ("amount", "price"))
        except ValueError as error:
            raise self._problem(number, field, cells[field], error) from error

    def _read(self, number: int, text: str, *, whole: bool) -> Figure:
        # What counts things has no fraction: `1,234` of them are a thousand and more.
        if whole and "," in text and "." not in text:
            return figure(text)
        return figure(text, comma=self._mark.comma(text, number))

    def _currency_of(self, number: int, cells: Mapping[str, str]) -> str | None:
        """The line's currency. Raises UnreadableBill where its amount names another one."""
        stated = (cells.get("currency") or self._currency or "").upper() or None
        text = cells.get("amount", "")
        if text[-1:].isdigit() and text[:1] in _BEGIN_NUMBERS:
            return stated
        named = sign_of(text)
        if named is not None and stated not in (None, named):
            raise UnreadableBill(
                f"line {number}, column {self._places['amount']!r}: {text[:60]!r} is in {named} "
                f"and the bill in {stated}: say which with --currency"
            )
        return named or stated

    def _tier(self, cells: Mapping[str, str], said: About) -> str | None:
        batch = _TIERS.get(cells.get("batch", "").casefold())
        said_by = (batch, cells.get("tier"), said.tier, cells.get("speed"))
        tiers = [tier.casefold() for tier in said_by if tier is not None]
        return next((tier for tier in tiers if tier not in _USUAL_TIERS), None)

    def _parts(self, counts: Mapping[str, int | None]) -> list[int]:
        """The parts of an input that are counted apart."""
        if counts["uncached"] is None:
            return []
        names = ("uncached", "cached", "cache_write", "cache_write_long")
        return [count for name in names if (count := counts[name]) is not None]

    def _problem(self, number: int, field: str, text: str, error: Exception) -> UnreadableBill:
        todo = "" if "--mapping" in str(error) else _TODO
        return UnreadableBill(
            f"line {number}, column {self._places[field]!r}: {text[:60]!r} {error}{todo}"
        )


def _is_other_service(cells: Mapping[str, str]) -> bool:
    """Whether a bill of a whole cloud has a line of something else than models."""
    service = cells.get("product", "").casefold()
    return cells["category"].casefold() != _OWN_CATEGORY and not any(
        name in service for name in _OWN_SERVICES
    )


class _LogDetails(msgspec.Struct):
    """What new-api puts into the column `other`."""

    cache_tokens: int | None = None


def _cached_of(details: str) -> int | None:
    try:
        return msgspec.json.decode(details, type=_LogDetails).cache_tokens
    except msgspec.MsgspecError:
        return None


def _width(stated: Width, span_ms: int) -> Width:
    """How much time lies between two cells; where they are one moment, as the first one says."""
    if span_ms <= 0:
        return stated
    if span_ms <= HOUR_MS:
        return Width.HOUR
    # The day of a clock change has 25 hours, and some have an end of 23:59:59.
    return Width.DAY if span_ms <= 26 * HOUR_MS else Width.MONTH
