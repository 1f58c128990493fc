"""What one exchange holds of its limits.

It is reserved before anything is sent, grows while the answer streams, and is settled or given back
once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from proxy.core.dialects.contract import Call, Dialect
from proxy.core.entries import Opened
from proxy.core.errors import ProxyError, unavailable
from proxy.core.limits.decisions import Demand, Used, not_boundable, not_priced
from proxy.core.limits.language import Unit
from proxy.core.limits.limit import Limit
from proxy.core.limits.refusals import cut, named, refusal
from proxy.core.limits.refusals import not_boundable as refuse_unbounded
from proxy.core.limits.rules import LimitSet, Rules
from proxy.core.limits.state import LimitState, Refused
from proxy.core.usage import ChargeClass, UsageRecord
from proxy.dataplane.demand import expected_charge, most_output, nothing
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.quota import Quota, QuotaUnavailable, Reservation

_LOG = logging.getLogger("tollkeeper.holds")
# by which a stream's hold grows ahead of what it has delivered; also the most that is left unused
# where a limit cuts it
GROW_TOKENS = 256
# that a hold is made for: the most that OpenAI gives, and nobody is to hold a team's whole budget
# by asking for a million
ANSWERS_MAX = 128
# what a request on a path that is passed through can use, by its class; of others everything counts
_UNITS_OF: dict[ChargeClass | None, tuple[Unit, ...]] = {
    ChargeClass.FREE: (Unit.REQUESTS, Unit.CONCURRENT),
    ChargeClass.PER_REQUEST: (Unit.REQUESTS, Unit.CONCURRENT, Unit.MONEY),
}


class Hold:
    """An exchange's part of its limits; empty until `reserve`, and where no limit holds for it.

    It ends with `settle` or `void`, whichever comes first. `output_expected`: tokens that one
    answer of this model is expected to have. `rules`: those in effect, which a reload changes
    meanwhile. `charge_least_nano`: a priced request is expected to be charged at least so much.
    """

    __slots__ = (
        "_call",
        "_cap",
        "_charge",
        "_charge_least_nano",
        "_dialect",
        "_fields",
        "_model",
        "_now_ms",
        "_open",
        "_opened",
        "_output_expected",
        "_quota",
        "_reservation",
        "_reserved_ms",
        "_rules",
        "_served",
        "_snapshot",
        "_until_tokens",
    )

    def __init__(
        self,
        services: Services,
        snapshot: Snapshot,
        dialect: Dialect,
        opened: Opened,
        call: Call,
        output_expected: int,
        rules: Callable[[], Rules],
        charge_least_nano: int = 0,
    ) -> None:
        self._quota = services.quota
        self._snapshot = snapshot
        self._dialect = dialect
        self._opened = opened
        self._call = call
        # As it was asked for: the call of an alias has the name that its upstream is sent.
        self._model = call.model if opened.model_requested is None else opened.model_requested
        keeps_caps = services.counter.calibration.keeps_caps(opened.upstream, call.model)
        self._cap = call.cap if keeps_caps else None
        self._output_expected = output_expected
        self._charge_least_nano = charge_least_nano
        self._now_ms = services.now_ms
        self._rules = rules
        self._served = services.served
        # What so many output tokens cost, where money is limited.
        self._charge: Callable[[int], int | None] | None = None
        self._reservation: Reservation | None = None
        self._reserved_ms = 0
        self._fields: Sequence[tuple[bytes, bytes]] | None = None
        self._open = False
        self._until_tokens: int | None = None  # output that is held; None: it need not grow

    async def reserve(self) -> None:
        """All of the request's limits in one step. Raises ProxyError 429, or 403 and 400 where a
        limit cannot count it, or 503; then nothing is held."""
        snapshot, opened, call = self._snapshot, self._opened, self._call
        limits = self._limits(snapshot.rules)
        if not limits:
            return
        if limits.money:
            self._charge = partial(expected_charge, snapshot, opened, call, self._charge_least_nano)
        ask = self._ask(limits)
        unpriced = not_priced(limits, ask) if limits.money else None
        if unpriced is not None:
            raise _model_not_priced(self._model, unpriced)
        unbounded = not_boundable(limits, ask) if limits.strict else None
        if unbounded is not None:
            raise refuse_unbounded(
                unbounded,
                cap_ignored=self._cap != self._call.cap,
                tokens_known=ask.input_bound is not None and ask.output_bound is not None,
            )
        self._reserved_ms = now_ms = self._now_ms()
        try:
            outcome = await self._quota.reserve(limits, ask, now_ms)
        except QuotaUnavailable as error:
            raise _quota_unavailable(error) from error
        if isinstance(outcome, Refused):
            raise refusal(
                outcome,
                now_ms,
                snapshot.zone,
                self._dialect.limit_fields,
                quota_status=snapshot.settings.quota_status,
            )
        self._reservation = outcome
        self._open = True
        if call.stream and limits.grows:
            self._until_tokens = ask.output_tokens

    @property
    def output_tokens(self) -> int:
        """The output that is expected of the request; with a strict limit, the most it may have."""
        ask = self._ask(self._limits(self._snapshot.rules))
        return ask.output_tokens if ask.output_bound is None else ask.output_bound

    @property
    def fields(self) -> Sequence[tuple[bytes, bytes]]:
        """`ratelimit-policy` and `ratelimit` of the request's tightest limit.

        They tell how it stood when the request was let through.
        """
        if self._fields is None:
            tightest = None if self._reservation is None else self._reservation.tightest
            self._fields = (
                ()
                if tightest is None
                else self._snapshot.limit_fields.of(tightest, self._reserved_ms)
            )
        return self._fields

    @property
    def until_tokens(self) -> int | None:
        """The output that is held of a stream; None: it need not grow."""
        return self._until_tokens

    def outgrown(self, output_tokens: int) -> bool:
        """Whether a stream has delivered more than it holds. If so, the caller calls `grow`.

        It is told once until `grow` has ended.
        """
        until_tokens = self._until_tokens
        if until_tokens is None or output_tokens <= until_tokens:
            return False
        self._until_tokens = output_tokens + GROW_TOKENS
        return True

    async def grow(self, output_tokens: int) -> ProxyError | None:
        """Holds enough for what was delivered and some more. Else: what to tell the client of the
        limit that has no more, as its stream is to be ended."""
        refusing: LimitState | None = None
        for wanted in (output_tokens + GROW_TOKENS, output_tokens):
            if not self._open or self._reservation is None:
                return None
            charge_nano = None if self._charge is None else self._charge(wanted)
            try:
                refusing = await self._quota.extend(
                    self._reservation, wanted, charge_nano, self._now_ms()
                )
            except QuotaUnavailable as error:
                _LOG.warning(
                    "a stream goes on without knowing whether its limits allow it: %s", error
                )
                return None
            if refusing is None:
                self._until_tokens = wanted
                return None
        return None if refusing is None else cut(refusing, self._snapshot.zone)

    def _limits(self, rules: Rules) -> LimitSet:
        opened = self._opened
        found = rules.limits_for(opened.key_id, opened.team, opened.upstream, self._model)
        if found.valued:
            found = found.of_values(opened.end_user, opened.tags)
        if opened.charge_class is None:
            return found  # nearly always
        units = _UNITS_OF.get(opened.charge_class)
        return found if units is None else LimitSet(limit for limit in found if limit.unit in units)

    def _ask(self, limits: LimitSet) -> Demand:
        """What the request is expected to use, and where a limit is strict the most that it may."""
        opened, call, charge, cap = self._opened, self._call, self._charge, self._cap
        if call.free:
            return nothing(opened.id, opened.started_at_ms, opened)
        said = call.answers if call.answers is not None else call.n
        answers = 1 if said is None else said
        output_tokens = (
            self._output_expected if cap is None else min(cap, self._output_expected)
        ) * min(answers, ANSWERS_MAX)
        ask = Demand(
            exchange_id=opened.id,
            started_at_ms=opened.started_at_ms,
            input_tokens=opened.input_estimate,
            output_tokens=output_tokens,
            charge_nano=None if charge is None else charge(output_tokens),
            opened=opened,
        )
        return self._bounded(ask) if limits.strict else ask

    def _bounded(self, ask: Demand) -> Demand:
        """With the most that the request may use, as far as it can be told."""
        snapshot, opened, call, cap = self._snapshot, self._opened, self._call, self._cap
        strict = snapshot.settings.strict
        input_bound = None if call.media else call.prompt_bytes + strict.overhead_tokens
        output_bound = most_output(call.answers, cap if cap is not None else strict.output_tokens)
        charge_bound_nano = None
        if self._charge is not None and input_bound is not None and output_bound is not None:
            charge_bound_nano = snapshot.prices.charge_bound_nano(
                opened.upstream,
                opened.team,
                self._model,
                input_bound,
                output_bound,
                opened.started_at_ms,
                opened.images,
                self._served.of(opened.upstream, self._model),
            )
        return msgspec.structs.replace(
            ask,
            input_bound=input_bound,
            output_bound=output_bound,
            charge_bound_nano=charge_bound_nano,
        )

    def settle(self, record: UsageRecord) -> None:
        """Books what the record says was used, and frees what was held beyond that.

        Limits that came meanwhile count it too.
        """
        used = Used(
            input_tokens=record.input_tokens,
            output_tokens=record.output_tokens,
            charge_nano=record.charge_nano,
        )
        if self._open and self._reservation is not None:
            self._open = False
            self._quota.settle(self._reservation, used, self._now_ms())
        rules = self._rules()
        if rules is not self._snapshot.rules:
            known = {limit.count_id for limit in self._limits(self._snapshot.rules)}
            added = [limit for limit in self._limits(rules) if limit.count_id not in known]
            self._quota.adjust(added, self._opened.started_at_ms, used, self._now_ms())

    def correct(self, booked: UsageRecord, late: UsageRecord) -> None:
        """Books what another record of this model and caller used beyond what was booked of it."""
        used = Used(
            requests=0,
            input_tokens=_more(booked.input_tokens, late.input_tokens),
            output_tokens=_more(booked.output_tokens, late.output_tokens),
            charge_nano=_more(booked.charge_nano, late.charge_nano),
        )
        limits = (
            self._rules()
            .limits_for(booked.key_id, booked.team, booked.upstream, booked.model_requested)
            .of_values(booked.end_user, booked.tags)
        )
        self._quota.adjust(limits, booked.started_at_ms, used, self._now_ms())

    def void(self) -> None:
        """Nothing was sent: nothing was used. Does nothing after `settle`."""
        if self._open and self._reservation is not None:
            self._open = False
            self._quota.void(self._reservation, self._now_ms())

    def client_left(self) -> None:
        """The client has left and its vendor was stopped: frees its place among concurrent ones.

        While the vendor works, it keeps that place.
        """
        if self._open and self._reservation is not None:
            self._quota.release_slots(self._reservation)


async def refuse_used_up(
    quota: Quota,
    snapshot: Snapshot,
    dialect: Dialect,
    key_id: str,
    team: str | None,
    started_at_ms: int,
    now_ms: int,
    charge_class: ChargeClass | None = None,
) -> None:
    """Refuses a caller of whom no request would be let through, whatever stands in its body.

    It takes nothing: all limits of a request are still taken in one step, by `Hold.reserve`. It
    keeps a caller that is beyond its limits from having its bodies read all the same. Raises
    ProxyError 429 or 503.
    """
    units = _UNITS_OF.get(charge_class)
    limits = snapshot.rules.of_any_call(key_id, team)
    if units is not None:
        limits = tuple(limit for limit in limits if limit.unit in units)
    if not limits:
        return
    try:
        refused = await quota.refusal(limits, nothing("", started_at_ms), now_ms)
    except QuotaUnavailable as error:
        raise _quota_unavailable(error) from error
    if refused is not None:
        raise refusal(
            refused,
            now_ms,
            snapshot.zone,
            dialect.limit_fields,
            quota_status=snapshot.settings.quota_status,
        )


def _more(before: int | None, after: int | None) -> int | None:
    return None if after is None else after - (0 if before is None else before)


def _quota_unavailable(error: QuotaUnavailable) -> ProxyError:
    message = (
        f"The proxy cannot tell now whether this request is within its limits ({error}). Nothing"
        " was sent. Try again shortly."
    )
    return unavailable("quota_unavailable", message)


def _model_not_priced(model: str, limit: Limit) -> ProxyError:
    message = (
        f"{model[:100]!r} has no price here, so {named(limit, 'the')} cannot count it. Use a model"
        " with a price, or ask the operator to add one."
    )
    return ProxyError(
        403,
        "invalid_request_error",
        "model_not_priced",
        message,
        param="model",
        limit=limit.id,
    )
