"""Frames: whatever happens to some bytes, every frame that lies outside of them is found, and
nothing else is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.journal import frames
from tests.support.effort import examples

KINDS = st.sampled_from(sorted(frames.KINDS))
PAYLOADS = st.one_of(
    st.text(max_size=60).map(str.encode),
    st.integers(0, frames.PAYLOAD_BYTES_MAX).map(lambda size: b"x" * size),
)
ENTRIES = st.lists(st.tuples(KINDS, PAYLOADS), max_size=12)


def written(entries: list[tuple[int, bytes]]) -> bytes:
    return b"".join(
        frames.encode(kind, seq, payload) for seq, (kind, payload) in enumerate(entries, 1)
    )


def found(data: bytes) -> list[tuple[int, int, bytes]]:
    return [(frame.kind, frame.seq, frame.payload(data)) for frame in frames.scan(data)]


@given(ENTRIES, st.integers(0, 100))
def test_what_was_encoded_is_found_before_unused_zeros(
    entries: list[tuple[int, bytes]], zeros: int
) -> None:
    assert found(written(entries) + bytes(zeros)) == [
        (kind, seq, payload) for seq, (kind, payload) in enumerate(entries, 1)
    ]


@settings(max_examples=examples(300))
@given(ENTRIES.filter(bool), st.data())
def test_damage_costs_only_the_frames_it_touches(
    entries: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    whole = written(entries)
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start + 1, len(whole)))
    noise = data.draw(st.sampled_from(["zeros", "ones", "noise", "cut", "magic"]))
    fill = {
        "zeros": bytes(end - start),
        "ones": b"\xff" * (end - start),
        "noise": random.Random(start).randbytes(end - start),
        "cut": b"",
        "magic": (frames.MAGIC * (end - start))[: end - start],
    }[noise]
    damaged = whole[:start] + fill + whole[end:]
    untouched = [
        (frame.kind, frame.seq, frame.payload(whole))
        for frame in frames.scan(whole)
        if frame.end <= start
        or frame.at >= end
        or whole[frame.at : frame.end] == damaged[frame.at : frame.end]
    ]
    assert found(damaged) == untouched


def test_a_torn_frame_is_not_one_at_any_length() -> None:
    first, second = (
        frames.encode(frames.OPEN, 1, b"{}"),
        frames.encode(frames.CLOSE, 2, '{"id":"é"}'.encode()),
    )
    for kept in range(len(second)):
        assert [seq for _, seq, _ in found(first + second[:kept])] == [1]
        assert [seq for _, seq, _ in found(second[:kept] + first)] == [1], "the one behind it is"


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    frame = frames.encode(frames.CLOSE, 7, b'{"id":"a"}')
    for at in range(len(frame)):
        flipped = frame[:at] + bytes([frame[at] ^ (1 << bit)]) + frame[at + 1 :]
        assert found(flipped) == []


@given(st.text())
def test_no_text_can_look_like_the_start_of_a_frame(text: str) -> None:
    assert frames.MAGIC not in text.encode("utf-8", "replace")
    assert frames.MAGIC[:1] not in text.encode("utf-8", "replace")
