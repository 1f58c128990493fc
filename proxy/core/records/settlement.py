"""What is charged when: an ended exchange becomes its record.

Every decision about what to charge is in this file, but for paths that are passed through
(`charge_classes.py`).

| ending                    | input / output tokens     | source               | outcome           |
|---------------------------|---------------------------|----------------------|-------------------|
| sent, no response head    | 0 / 0                     | none                 | upstream_failed   |
| status not 2xx            | stated, else 0 / 0        | reported / none      | rejected_upstream |
| 2xx without an answer,    | 0 / 0, and no fee         | none                 | upstream_failed   |
| and no use stated         |                           |                      |                   |
| 2xx, usage stated         | as stated                 | reported             | completed         |
| 2xx, none stated          | counted, else estimates   | counted / estimated  | completed         |
| 2xx, then a reset or an   | (1)                       | partial              | upstream_failed   |
| error event               |                           |                      |                   |
| client left, stopped      | (1); before any head:     | partial              | client_closed     |
|                           | input estimated, output 0 |                      |                   |
| client left behind the    | as completed              | as completed         | completed         |
| stream's end              |                           |                      |                   |
| client left, drained      | as completed              | as completed         | client_closed     |
| client left, nobody reads | as stopped, and at least  | partial              | client_closed     |
| on (no room or time)      | the output that it held   |                      |                   |
| cut by a limit            | as stopped                | partial              | cut               |
| the process ended or died | (2)                       | reported / estimated | interrupted       |

1. Input stated or estimated. Output as the usage says if it counts all that came, else the larger
   of what was delivered and what was stated last.
2. Input stated or estimated. Output as the usage says if it is final, else the larger of what was
   delivered (or marked) and what was stated last.

A zero beside delivered text is not stated, nor an input of zero beside an answer. An output that
was stated before the last text has not counted it: the larger of it and what was delivered is
charged, as an estimate. A total alone is divided as the estimates are; one that was stated before
the last text counts as far as it says more than both. The rows of the client win over those of the
upstream. A status that is not 2xx is never charged by estimate, even if the client left. Nothing
sent: no record.

A request whose path is passed through has a charge class, which comes before the table: free and
per request have no tokens, and metered has what is stated. Where that is nothing, under a 2xx or
with the end unknown, its tokens and its cost are not known. `reason` says which.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.core.entries import Marked, Opened
from proxy.core.pricing.amounts import Counts, HasCounts, Priced, Pricing
from proxy.core.records.charge_classes import (
    ANSWERED_OK,
    NOTHING,
    UNKNOWN,
    Charge,
    by_class,
    reason_of,
)
from proxy.core.records.ending import Ending, How
from proxy.core.records.tier import in_tier
from proxy.core.usage import (
    Outcome,
    Source,
    Usage,
    UsageRecord,
)

_WEAKNESS = {source: rank for rank, source in enumerate(Source)}  # declared strongest first
_TEXT_CHARS_MAX = 256  # a record has a bounded size; ids and names come from upstreams
_SURE = (Source.REPORTED, Source.NONE)
_WHOLE = (How.ANSWERED, How.CLIENT_LEFT_DRAINED)
RECOVERY = "recovery"  # the origin of a record that was made of marks
FORGOTTEN = "forgotten"  # the origin of one that was made of what its process held of limits
_NOTHING_STATED = Usage()


def settle(
    opened: Opened, ending: Ending, writer: str, pricing: Pricing, *, origin: str = "proxy"
) -> UsageRecord:
    """The record of an exchange of which at least one byte was sent upstream."""
    charge = _charge(opened, ending)
    stated = _NOTHING_STATED if charge.stated is None else charge.stated
    model_served = _short(ending.model_served)
    priced, service_tier, tier_doubtful = _priced(opened, ending, charge, model_served, pricing)
    unknown = charge is UNKNOWN
    # As nearly every one is.
    completed = ending.how is How.ANSWERED and ending.answered and ending.status in ANSWERED_OK
    inputs, outputs = charge.input_source, charge.output_source
    # All of its values in their order: see `UsageRecord`.
    return UsageRecord(
        opened.id,
        writer,
        origin,
        "usage",
        None,  # it adjusts no other record
        None if opened.charge_class is None else reason_of(charge, opened.charge_class),
        opened.started_at_ms,
        ending.duration_ms,
        ending.first_byte_ms,
        opened.key_id,
        opened.team,
        opened.labels,
        opened.end_user,
        opened.tags,
        opened.endpoint,
        opened.dialect,
        opened.upstream,
        opened.upstream_account,
        opened.model_requested,
        model_served,
        opened.stream,
        ending.status,
        Outcome.COMPLETED if completed else _outcome(opened, ending),
        _short(ending.finish_reason),
        _short(ending.upstream_request_id),
        opened.client_retry_count,
        None if unknown else charge.input_tokens,
        stated.cached_tokens,
        stated.cache_write_tokens,
        stated.cache_write_long_tokens,
        None if unknown else charge.output_tokens,
        stated.reasoning_tokens,
        stated.audio_input_tokens,
        stated.audio_output_tokens,
        stated.searches,
        inputs,
        outputs,
        inputs if inputs is outputs else weaker(inputs, outputs),
        stated.inconsistent or tier_doubtful or (ending.unread and outputs not in _SURE),
        stated.raw,
        service_tier,
        opened.bytes_in,
        ending.bytes_out,
        ending.chunks,
        priced.cost_nano,
        priced.charge_nano,
        priced.currency,
        priced.price_version,
        priced.price_model,
        priced.price_currency,
        priced.cost_original_nano,
        priced.fx_rate,
        stated.upstream_cost_nano,
    )


def _priced(
    opened: Opened, ending: Ending, charge: Charge, model_served: str | None, pricing: Pricing
) -> tuple[Priced, str | None, bool]:
    """The amounts, the tier that they are of, and whether that tier is in doubt."""
    stated = _NOTHING_STATED if charge.stated is None else charge.stated
    as_stated = (
        stated.input_tokens == charge.input_tokens and stated.output_tokens == charge.output_tokens
    )
    counts: HasCounts = (
        stated
        if as_stated and charge is not UNKNOWN
        else Counts(
            input_tokens=None if charge is UNKNOWN else charge.input_tokens,
            cached_tokens=stated.cached_tokens,
            cache_write_tokens=stated.cache_write_tokens,
            audio_input_tokens=stated.audio_input_tokens,
            output_tokens=charge.output_tokens,
            reasoning_tokens=stated.reasoning_tokens,
            audio_output_tokens=stated.audio_output_tokens,
            cache_write_long_tokens=stated.cache_write_long_tokens,
            searches=stated.searches,
        )
    )

    def price(service_tier: str | None) -> Priced:
        return pricing.price(
            counts,
            upstream=opened.upstream,
            team=opened.team,
            model_requested=opened.model_requested,
            model_served=model_served,
            service_tier=service_tier,
            started_at_ms=opened.started_at_ms,
            status=None if charge is NOTHING else ending.status,
            images=opened.images,
            charge_class=opened.charge_class,
        )

    return in_tier(price, _short(ending.service_tier), opened.tier_asked)


def recovered(
    opened: Opened, marks: Sequence[Marked], writer: str, now_ms: int, pricing: Pricing
) -> UsageRecord:
    """The record of an exchange whose process died: from its marks, in the order of writing.

    The measure is the highest mark, since each was written before what it covers was delivered. The
    duration is an upper bound.
    """
    with_usage = [mark for mark in marks if mark.usage is not None]
    last = with_usage[-1] if with_usage else Marked(id=opened.id)
    ending = Ending(
        how=How.INTERRUPTED,
        status=next((mark.status for mark in reversed(marks) if mark.status is not None), None),
        usage=last.usage,
        usage_final=last.final,
        output_measure=max((mark.output_tokens for mark in marks), default=0),
        duration_ms=max(0, now_ms - opened.started_at_ms),
        bytes_out=None,
        chunks=None,
        model_served=next(
            (mark.model_served for mark in reversed(marks) if mark.model_served is not None), None
        ),
    )
    return settle(opened, ending, writer, pricing, origin=RECOVERY)


def at_its_bound(
    opened: Opened, output_tokens: int, writer: str, duration_ms: int, pricing: Pricing
) -> UsageRecord:
    """The record of an exchange whose process and journal are lost: all that was held for it.

    Its input is the estimate of `opened`, its output what the hold was for. It may never have been
    sent: nothing tells. The same facts always make the same record.
    """
    ending = Ending(
        how=How.INTERRUPTED,
        answered=None,
        output_held=output_tokens,
        duration_ms=duration_ms,
        bytes_out=None,
        chunks=None,
    )
    return settle(opened, ending, writer, pricing, origin=FORGOTTEN)


def weaker(one: Source, other: Source) -> Source:
    """The weaker of two sources: what can be said of both counts together."""
    if one is other:
        return one
    return max(one, other, key=_WEAKNESS.__getitem__)


def _charge(opened: Opened, ending: Ending) -> Charge:
    """The table above, one row after the other."""
    how = ending.how
    if opened.charge_class is not None:
        return by_class(opened.charge_class, ending)
    if how is How.ANSWERED and ending.status in ANSWERED_OK:
        usual = _all_stated(ending)
        if usual is not None:
            return usual
    refused = ending.status is not None and ending.status not in ANSWERED_OK
    if how is How.NO_HEAD or (not refused and _without_answer(ending)):
        return NOTHING
    if refused:
        return _as_stated_or(ending.usage, NOTHING)
    usage = ending.believed
    unstated = _unstated(opened, ending)
    if usage is not None and usage.total_tokens is not None:
        unstated = _divided(usage, usage.total_tokens, unstated, counts_all=ending.counts_all)
    if how in _WHOLE or (how is How.CLIENT_LEFT and ending.done):
        return _whole(ending, usage, unstated)
    if how is How.INTERRUPTED:
        return _broken_off(ending, usage, unstated, Source.REPORTED, Source.ESTIMATED)
    return _broken_off(ending, usage, unstated, Source.PARTIAL, Source.PARTIAL)


def _all_stated(ending: Ending) -> Charge | None:
    """The row of nearly every answer, without the others: both counts of all that came are
    stated."""
    usage = ending.usage
    if usage is None or not (ending.answered and (ending.usage_current or ending.usage_final)):
        return None
    # A zero may be no count (`Ending.believed`), so it is left to the others.
    if not usage.input_tokens or not usage.output_tokens or usage.total_tokens is not None:
        return None
    return Charge(usage.input_tokens, usage.output_tokens, Source.REPORTED, Source.REPORTED, usage)


def _without_answer(ending: Ending) -> bool:
    """Whether nothing came that a vendor bills. Where nothing tells, an upstream that is over has
    failed; one that was left or cut may still have worked."""
    if ending.answered or (ending.usage is not None and ending.usage.states_use):
        return False
    over = ending.how in (*_WHOLE, How.UPSTREAM_CUT, How.ERROR_EVENT) or (
        ending.how is How.CLIENT_LEFT and ending.done
    )
    return over or ending.answered is False


def _unstated(opened: Opened, ending: Ending) -> Charge:
    """What is charged where nothing is stated: our own counts, else what was estimated from bytes.

    No member of the request lowers it. A cap on the answer is a wish: many self-hosted servers do
    not read `max_completion_tokens`, and what was delivered was delivered.
    """
    counted = ending.counted
    output_tokens = max(
        ending.output_measure if counted is None else counted.output_tokens, ending.output_held
    )
    if counted is None:
        return Charge(opened.input_estimate, output_tokens, Source.ESTIMATED, Source.ESTIMATED)
    return Charge(
        counted.input_tokens,
        output_tokens,
        Source.COUNTED if counted.input_exact else Source.ESTIMATED,
        Source.COUNTED if counted.output_exact else Source.ESTIMATED,
    )


def _divided(usage: Usage, total: int, unstated: Charge, *, counts_all: bool) -> Charge:
    """A stated total, divided as the estimates of both sides are. One that does not count all
    counts as far as it says more than both."""
    both = unstated.input_tokens + unstated.output_tokens
    if not counts_all and total <= both:
        return unstated
    input_tokens = total if both == 0 else total * unstated.input_tokens // both
    return Charge(input_tokens, total - input_tokens, Source.ESTIMATED, Source.ESTIMATED, usage)


def _as_stated_or(usage: Usage | None, otherwise: Charge) -> Charge:
    """What was stated, side by side; a side that was not stated is charged as given."""
    if usage is None:
        return otherwise
    has_input = usage.input_tokens is not None
    has_output = usage.output_tokens is not None
    return Charge(
        usage.input_tokens if usage.input_tokens is not None else otherwise.input_tokens,
        usage.output_tokens if usage.output_tokens is not None else otherwise.output_tokens,
        Source.REPORTED if has_input else otherwise.input_source,
        Source.REPORTED if has_output else otherwise.output_source,
        usage,
    )


def _whole(ending: Ending, usage: Usage | None, unstated: Charge) -> Charge:
    """An answer that came to its end. An output stated before its last text counts only as far as
    it says more than what was delivered."""
    charge = _as_stated_or(usage, unstated)
    if ending.counts_all or charge.output_source is not Source.REPORTED:
        return charge
    return Charge(
        charge.input_tokens,
        max(charge.output_tokens, unstated.output_tokens),
        charge.input_source,
        Source.ESTIMATED,
        usage,
    )


def _broken_off(
    ending: Ending, usage: Usage | None, unstated: Charge, if_final: Source, otherwise: Source
) -> Charge:
    """An answer that did not come to its end.

    A stated output counts if no text came behind it, else only as far as it says more than what was
    delivered. The output's source says that the answer broke off even where a final usage was
    stated (`if_final`); the input's says where its count is from.
    """
    charge = _as_stated_or(usage, unstated)
    total = usage.output_tokens if usage is not None else None
    source = if_final if ending.usage_final and total is not None else otherwise
    if total is None or not ending.counts_all:
        return Charge(
            charge.input_tokens,
            max(unstated.output_tokens, 0 if total is None else total),
            charge.input_source,
            source,
            charge.stated,
        )
    # A running total says nothing of what the vendor goes on to make.
    held = 0 if ending.usage_final else ending.output_held
    return Charge(charge.input_tokens, max(total, held), charge.input_source, source, usage)


def _outcome(opened: Opened, ending: Ending) -> Outcome:
    """How the exchange ended, in the ledger's words. The client's and our own endings win over what
    the upstream did."""
    match ending.how:
        case How.INTERRUPTED:
            return Outcome.INTERRUPTED
        case How.CUT:
            return Outcome.CUT
        case How.CLIENT_LEFT_DRAINED:
            return Outcome.CLIENT_CLOSED
        case How.CLIENT_LEFT if not ending.done:
            return Outcome.CLIENT_CLOSED
        case How.NO_HEAD:
            return Outcome.UPSTREAM_FAILED
    if ending.status is not None and ending.status not in ANSWERED_OK:
        return Outcome.REJECTED_UPSTREAM
    if opened.charge_class is None and _without_answer(ending):
        return Outcome.UPSTREAM_FAILED
    return (
        Outcome.COMPLETED
        if ending.how in (How.ANSWERED, How.CLIENT_LEFT)
        else Outcome.UPSTREAM_FAILED
    )


def _short(text: str | None) -> str | None:
    return None if text is None else text[:_TEXT_CHARS_MAX]
