"""Puts another model's name into a request, for a route with `as`.

Nothing is parsed and written anew: the bytes of one value are replaced, and every other byte stays.
What was read of the body holds for the new one, with its offsets moved.
"""

from __future__ import annotations

import msgspec

from proxy.core.dialects.contract import Call

MODEL = "model"


def renamed(body: bytes, call: Call, name: str) -> tuple[bytes, Call]:
    """The body that asks for the model `name`, and the call that it makes."""
    start, end = call.spans[MODEL]
    text = msgspec.json.encode(name)
    longer = len(text) - (end - start)

    def moved(span: tuple[int, int]) -> tuple[int, int]:
        return span if span[0] < end else (span[0] + longer, span[1] + longer)

    spans = {field: moved(span) for field, span in call.spans.items()}
    spans[MODEL] = (start, start + len(text))
    asked = msgspec.structs.replace(
        call,
        model=name,
        prompt_bytes=call.prompt_bytes + longer,
        inlined=tuple(map(moved, call.inlined)),
        spans=spans,
    )
    return body[:start] + text + body[end:], asked
