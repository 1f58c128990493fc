"""An accountant beside the proxy: what a limit has let through, worked out anew from what was
asked, what the upstream saw and the rows of the ledger.

Imports nothing of the proxy's. Amounts are whole units of the limit; of money, nano-units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

OVERHEAD_TOKENS = 256  # what a vendor may add to a prompt, by default
EXPECTED_TOKENS = 1024  # of an answer of a model that nothing is known of
NANO = 10**9
INPUT_NANO, OUTPUT_NANO = 2700, 13_300  # a token; times discount and markup it is no whole number
DISCOUNT, MARKUP = Fraction("0.1"), Fraction("0.07")
PRICES = [{"model": "m-*", "input": "2.7", "cached": "0.3", "output": "13.3"}]
DISCOUNTED = {"discount": "0.1"}
MARKED_UP = {"markup": "0.07"}
Row = Mapping[str, object]


@dataclass(frozen=True)
class Rule:
    """A limit. `scope` is `proxy` or the kind and name of whom it is for, such as `key:alice`;
    `model` what its models begin with."""

    name: str
    amount: int
    unit: str  # requests tokens input_tokens output_tokens concurrent USD
    per: str = ""
    enforce: str = "finish"
    scope: str = "key:alice"
    model: str = ""
    burst: int | None = None

    def config(self) -> dict[str, object]:
        amount = (
            f"{self.amount // NANO}.{self.amount % NANO:09}"
            if self.unit == "USD"
            else str(self.amount)
        )
        text = (
            f"{amount} {self.unit}"
            + (f"/{self.per}" if self.per else "")
            + (f" for {self.model}*" if self.model else "")
        )
        return {"limit": text, "name": self.name, "enforce": self.enforce} | (
            {} if self.burst is None else {"burst": self.burst}
        )

    @property
    def strict(self) -> bool:
        """Whether a request has to fit whole."""
        return self.enforce == "strict" or self.unit in ("requests", "concurrent")

    def covers(self, row: Row) -> bool:
        """Whether it holds for what this row is about."""
        kind, _, name = self.scope.partition(":")
        whose = {
            "proxy": "",
            "upstream": row["upstream"],
            "team": row["team"],
            "key": row["key_id"],
        }[kind]
        return whose == name and str(row["model_requested"]).startswith(self.model)

    def hold(self, body_bytes: int, cap: int | None) -> int:
        """What a request takes while it runs: the most it may use where the limit is strict, else
        what is expected."""
        if self.enforce == "strict":
            assert cap is not None
            return _in_unit(self.unit, body_bytes + OVERHEAD_TOKENS, cap)
        return _in_unit(
            self.unit,
            _quarter(body_bytes),
            EXPECTED_TOKENS if cap is None else min(cap, EXPECTED_TOKENS),
        )

    def used(self, rows: Iterable[Row]) -> int:
        """What these rows say was used."""
        return sum(_of_row(self.unit, row) for row in rows if self.covers(row))

    def admits(self, taken: int, hold: int) -> bool:
        """Whether a request is let through while so much is taken."""
        return taken + hold <= self.amount if self.strict else taken < self.amount


def charge(input_tokens: int, output_tokens: int) -> int:
    """Rounded half up, once."""
    exact = (
        (input_tokens * INPUT_NANO + output_tokens * OUTPUT_NANO) * (1 - DISCOUNT) * (1 + MARKUP)
    )
    return int(exact + Fraction(1, 2))


def charged_right(row: Row) -> bool:
    return row["charge_nano"] == charge(_number(row["input_tokens"]), _number(row["output_tokens"]))


def midday_zone() -> str:
    """A zone in which it is about noon, so that no day, week or month ends while a test runs."""
    ahead = 12 - datetime.now(UTC).hour
    return (
        f"Etc/GMT{-ahead:+}" if ahead else "Etc/GMT"
    )  # the sign of these names is the other way round


def _quarter(size_bytes: int) -> int:
    return -(-size_bytes // 4)


def _in_unit(unit: str, input_tokens: int, output_tokens: int) -> int:
    if unit in ("requests", "concurrent"):
        return 1
    if unit == "USD":
        return charge(input_tokens, output_tokens)
    return {
        "tokens": input_tokens + output_tokens,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }[unit]


def _of_row(unit: str, row: Row) -> int:
    if unit == "concurrent":
        return 0
    if row["kind"] == "adjustment" and unit == "requests":
        return 0
    if unit == "USD":
        return _number(row["charge_nano"])
    return _in_unit(unit, _number(row["input_tokens"]), _number(row["output_tokens"]))


def _number(value: object) -> int:
    assert value is None or isinstance(value, int)
    return 0 if value is None else value
