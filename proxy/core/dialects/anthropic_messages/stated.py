"""What a message states about its usage, and how the statements of one stream come together.

On this wire the input counts what was neither read from the cache nor written to it; both lie
beside it. Each statement of a stream is of the whole answer so far, so nothing is ever added, and a
zero or a null takes nothing back. `iterations` lists what the vendor did for one request:
summing-ups of the context (`compaction`) are billed and are not in the top level, so they are added
once, at the end.
"""

from __future__ import annotations

import msgspec

from proxy.core.dialects.cost import stated_cost_nano
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.repair import REPAIRED_BYTES_MAX, repaired
from proxy.core.dialects.stated import Stated, read_stated
from proxy.core.usage import Usage

FAST = "fast"
_ITERATIONS_MAX = 256
_object_decoder = msgspec.json.Decoder(dict[str, object])


class Statement(msgspec.Struct, frozen=True, gc=False):
    """One usage object, or several of one stream as one.

    It has the answer's own counts, and those of the summing-ups that are billed beside them.
    """

    own: Stated
    beside: tuple[Stated, ...] = ()

    def merged(self, later: Statement) -> Statement:
        """Both as one.

        A statement of the input also says how much of it was cached, zeros included: some servers
        know that only at the end.
        """
        own = self.own
        if later.own.input_tokens:
            own = msgspec.structs.replace(
                own,
                cached_tokens=_unless(later.own.cached_tokens, own.cached_tokens),
                cache_write_tokens=_unless(later.own.cache_write_tokens, own.cache_write_tokens),
            )
        return Statement(own.merged(later.own), later.beside or self.beside)

    def without_output(self) -> Statement:
        """The same of an answer without output: what its first event stated was a placeholder."""
        return Statement(msgspec.structs.replace(self.own, output_tokens=0), self.beside)

    def usage(self, *, cached_inside_input: bool) -> Usage:
        """All of it as `Usage`."""
        usage = self.own.usage(cached_inside_input=cached_inside_input)
        for one in self.beside:
            usage = _sum(usage, one.usage(cached_inside_input=cached_inside_input))
        return usage


def read_statement(raw: msgspec.Raw) -> Statement | None:
    """The usage object that this is; None if it is none, or states no count."""
    if bytes(memoryview(raw)[:1]) != b"{":
        return None
    try:
        members = _object_decoder.decode(raw)
    except JSON_ERRORS:
        members = _loosely(raw)
    own = read_stated(members, upstream_cost_nano=stated_cost_nano(raw))
    if own is None:
        return None
    if members.get("speed") == FAST:
        own = msgspec.structs.replace(own, service_tier=FAST)
    return Statement(own, _beside(members.get("iterations")))


def _beside(iterations: object) -> tuple[Stated, ...]:
    if not isinstance(iterations, list):
        return ()
    found = [
        read_stated(entry)
        for entry in iterations[:_ITERATIONS_MAX]
        if isinstance(entry, dict) and entry.get("type") == "compaction"
    ]
    return tuple(stated for stated in found if stated is not None)


def _unless(later: int | None, earlier: int | None) -> int | None:
    return earlier if later is None else None


def _sum(one: Usage, other: Usage) -> Usage:
    return msgspec.structs.replace(
        one,
        input_tokens=_both(one.input_tokens, other.input_tokens),
        cached_tokens=_both(one.cached_tokens, other.cached_tokens),
        cache_write_tokens=_both(one.cache_write_tokens, other.cache_write_tokens),
        cache_write_long_tokens=_both(one.cache_write_long_tokens, other.cache_write_long_tokens),
        output_tokens=_both(one.output_tokens, other.output_tokens),
        reasoning_tokens=_both(one.reasoning_tokens, other.reasoning_tokens),
    )


def _both(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else one + other


def _loosely(raw: msgspec.Raw) -> dict[str, object]:
    """A usage object with a number in it that no reader takes (1e400): the others stand."""
    try:
        return _object_decoder.decode(repaired(bytes(raw)[:REPAIRED_BYTES_MAX]))
    except JSON_ERRORS:
        return {}
