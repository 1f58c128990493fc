"""The wire as one dialect of the contract."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.core.dialects.contract import Dialect, Fields, Meter
from proxy.core.errors import ProxyError
from proxy.core.limits.state import LimitState
from tests.support.toy_wire.call import count_prompt, read_call
from tests.support.toy_wire.meter import ToyMeter


def error_body(error: ProxyError) -> bytes:
    """A sentence and a code, side by side."""
    return msgspec.json.encode({"error": error.message, "code": error.code})


def error_event(error: ProxyError, meter: Meter) -> bytes:
    """The same as the last event of a stream."""
    return b"data: " + error_body(error) + b"\n\n"


def limit_fields(states: Sequence[LimitState], now_ms: int) -> Fields:
    """What is left of each limit, by its unit."""
    return tuple(
        field
        for state in states
        for field in (
            (f"toy-{state.limit.unit}-most", str(state.amount)),
            (f"toy-{state.limit.unit}-left", str(state.remaining)),
        )
    )


TOY = Dialect(
    name="toy",
    endpoints=("/v1/toy",),
    read_call=read_call,
    open_meter=ToyMeter,
    count_prompt=count_prompt,
    count_images=lambda body: 0,
    error_body=error_body,
    error_event=error_event,
    limit_fields=limit_fields,
    request_id_field=b"toy-id",
)
