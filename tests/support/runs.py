"""The two ways of a stream's chunks through a meter: by its run, and by its own look."""

from __future__ import annotations

from hypothesis import strategies as st

from proxy.core.dialects.answer_meter import AnswerMeter

FIGURES = (
    "text_bytes",
    "output_measure",
    "output_so_far",
    "usage",
    "usage_current",
    "usage_final",
    "done",
    "error",
    "finish_reason",
    "answered",
    "doubtful",
    "text_known",
    "complete",
    "next_number",
    "unreadable",
)


def mixture_comes_to_the_same(
    kind: type[AnswerMeter], chunks: list[bytes], data: st.DataObject
) -> None:
    """Whatever chunks a run takes in place of its meter, all figures are the same."""
    fed, ran = (kind(stream=True, text_bytes_max=None, measure=(2, 7)) for _ in range(2))
    for chunk in chunks:
        fed.feed(chunk)
        run = ran.run if data.draw(st.booleans()) else None
        room_bytes = ran.room_bytes(fed.output_measure)
        text_bytes = None if run is None else run.take(chunk)
        if text_bytes is None:
            ran.feed(chunk)
        elif data.draw(st.booleans()):
            ran.take_over()
            assert figures(ran) == figures(fed)
            assert text_bytes <= room_bytes, "room for what has come is never too small"
    fed.end()
    ran.end()
    assert figures(ran) == figures(fed)
    assert fed.texts is not None and ran.texts is not None
    fed.texts.finish()
    ran.texts.finish()
    assert "".join(ran.texts.blocks) == "".join(fed.texts.blocks)


def figures(meter: AnswerMeter) -> dict[str, object]:
    return {name: getattr(meter, name) for name in FIGURES}
