"""What an exchange used, and where each count came from.

An upstream states a `Usage`, the ledger books a `UsageRecord`.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class Source(enum.StrEnum):
    """Where a token count comes from, weakest last."""

    REPORTED = "reported"  # stated by the upstream
    COUNTED = "counted"  # tokenised with that model family's own vocabulary
    ESTIMATED = "estimated"  # calibrated, or bytes / 4 until calibration is known
    PARTIAL = "partial"  # what was delivered before the exchange was cut short
    NONE = "none"  # nothing was used, or nothing can be known


class Outcome(enum.StrEnum):
    """How an exchange ended."""

    COMPLETED = "completed"
    CLIENT_CLOSED = "client_closed"
    UPSTREAM_FAILED = "upstream_failed"
    CUT = "cut"
    INTERRUPTED = "interrupted"
    REJECTED_UPSTREAM = "rejected_upstream"


class ChargeClass(enum.StrEnum):
    """How a request is charged whose text is not counted: its path says so, in the config."""

    FREE = "free"  # no tokens, and no cost whatever the prices say
    PER_REQUEST = "per_request"  # no tokens, and the fee of the price row
    METERED = "metered"  # what the answer states; where it states nothing, nobody knows
    LATER = "later"  # it made a batch, whose use its vendor tells when that is over


# The finish reason of an answer that a filter withheld: its vendor may well bill nothing for it.
FILTERED = "content_filter"
# Why a usage record has no tokens, in its `reason`. UNMETERED: they were to be stated and were not.
# LATER: they are not known yet.
FREE, PER_REQUEST, UNMETERED, LATER = "free", "per_request", "unmetered", "later"


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts as an upstream stated them. None is "not stated", 0 is zero.

    cached and cache_write are part of input, cache_write_long (kept for an hour or more) is part of
    cache_write, reasoning is part of output (a dialect folds them in where a vendor keeps them
    apart). `searches` are those that the vendor made and bills beside the tokens.
    `raw` is the vendor's usage object reduced to its numbers, nested objects kept, for audits.
    """

    input_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    inconsistent: bool = False
    raw: dict[str, object] | None = None
    # What the vendor itself says it charges, in its own unit (OpenRouter: credits, which are US
    # dollars).
    upstream_cost_nano: int | None = None
    total_tokens: int | None = None  # where nothing says how it is divided into input and output
    cache_write_long_tokens: int | None = None
    searches: int | None = None

    @property
    def states_use(self) -> bool:
        """Whether any count is above zero."""
        return any(
            count is not None and count > 0
            for count in (self.input_tokens, self.output_tokens, self.total_tokens)
        )

    def beside(self, text_tokens: int, *, answered: bool) -> Usage:
        """What this usage states beside so much text, and beside an answer, if one came.

        Beside text a zero is no count: a server that has none sends it. So are the zeros of its
        parts. Nor is an input of zero beside an answer without text: whatever answered has read its
        prompt. An error, or what a filter withheld, is no answer here.
        """
        text = text_tokens > 0
        no_input = self.input_tokens == 0 and (
            text or answered or (self.output_tokens is not None and self.output_tokens > 0)
        )
        no_output = self.output_tokens == 0 and text
        if not no_input and not no_output:
            return self
        return Usage(
            input_tokens=None if no_input else self.input_tokens,
            cached_tokens=_unless(no_input, self.cached_tokens),
            cache_write_tokens=_unless(no_input, self.cache_write_tokens),
            output_tokens=None if no_output else self.output_tokens,
            reasoning_tokens=_unless(no_output, self.reasoning_tokens),
            audio_input_tokens=_unless(no_input, self.audio_input_tokens),
            audio_output_tokens=_unless(no_output, self.audio_output_tokens),
            inconsistent=self.inconsistent,
            raw=self.raw,
            upstream_cost_nano=_unless(no_input and no_output, self.upstream_cost_nano),
            total_tokens=self.total_tokens,
            cache_write_long_tokens=_unless(no_input, self.cache_write_long_tokens),
            searches=self.searches,
        )


def _unless(placeholder: bool, count: int | None) -> int | None:
    return None if placeholder and count == 0 else count


def _left_out() -> Any:
    raise msgspec.ValidationError("a field is left out that has no default")


# Of a field that stands behind others that may be left out.
REQUIRED: Any = msgspec.field(default_factory=_left_out)


class UsageRecord(msgspec.Struct, frozen=True, gc=False):
    """One ended exchange, as it is journaled and booked; never changed afterwards.

    Times are Unix milliseconds (UTC), durations milliseconds, money nano-units of `currency`; None
    is "not known".
    The ledger adds seq, booked_at_ms, hash_version, prev_hash and hash while booking.

    A record is made of its values in their order (`settle`): a call with more than fifteen keywords
    goes through a dict, and takes twenty times as long. So the fields that every record has stand
    behind others that it may lack, and refuse to be left out by themselves.
    """

    id: str
    writer: str
    origin: str = "proxy"  # which part made the record: proxy | recovery | rerate …
    kind: str = "usage"  # usage | adjustment
    adjusts: str | None = None  # id of the record an adjustment corrects
    # why an adjustment exists, e.g. late_close; why a usage record has no tokens, e.g. free
    reason: str | None = None
    started_at_ms: int = REQUIRED
    duration_ms: int = REQUIRED
    first_byte_ms: int | None = None
    key_id: str = REQUIRED
    team: str | None = None
    labels: dict[str, str] = {}
    end_user: str | None = None
    tags: dict[str, str] = {}
    endpoint: str = REQUIRED
    dialect: str | None = None
    upstream: str = REQUIRED
    upstream_account: str | None = None
    model_requested: str | None = None
    model_served: str | None = None
    stream: bool = False
    status: int | None = None  # the upstream's status; None if no head came
    outcome: Outcome = REQUIRED
    finish_reason: str | None = None
    upstream_request_id: str | None = None
    client_retry_count: int = 0
    input_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_long_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    searches: int | None = None
    input_source: Source = REQUIRED
    output_source: Source = REQUIRED
    source: Source = REQUIRED  # the weaker of both
    # the stated counts contradict each other, an estimate may miss what could not be read, or the
    # tier is in doubt
    inconsistent: bool = False
    usage_raw: dict[str, object] | None = None
    service_tier: str | None = None
    bytes_in: int = 0
    # Of the answer, as the upstream sent it; None: not known, a process died over it.
    bytes_out: int | None = 0
    chunks: int | None = 0
    cost_nano: int | None = None
    charge_nano: int | None = None
    currency: str | None = None
    price_version: str | None = None
    price_model: str | None = None
    price_currency: str | None = None
    cost_original_nano: int | None = None
    fx_rate: str | None = None
    upstream_cost_nano: int | None = None  # as Usage's: in the vendor's unit, not in `currency`
