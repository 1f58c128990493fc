"""What the meters of wires have in common, tried with the smallest wire there can be: an event is
its text, and so is a JSON answer."""

from __future__ import annotations

import gzip

import pytest

from proxy.core.dialects.answer_meter import AnswerMeter


class Sizes:
    """Text that is delivered as it comes."""

    def __init__(self) -> None:
        self.text_bytes = 0
        self.unread_bytes = 0
        self.doubtful = False


class PlainMeter(AnswerMeter):
    """Each event is its own text."""

    def _begin(self) -> None:
        self._delivered = Sizes()
        self.seen: list[bytes] = []

    def _take_event(self, event: bytes) -> None:
        self.done |= event == b"[DONE]"
        self.seen.append(event)
        self._delivered.text_bytes += len(event)
        self._answered = True

    def _take_answer(self, body: bytes) -> None:
        self._take_event(body)
        self._read = True

    def _take_ends(self, head: bytes, tail: bytes) -> None:
        self.seen += [head, tail]

    def _finish(self) -> None:
        self.seen.append(b"over")


STREAM = b'data: {"a":1}\n\n: ping\n\ndata: {"b":2}\n\ndata: [DONE]\n\n'
SEEN = [b'{"a":1}', b'{"b":2}', b"[DONE]", b"over"]


def fed(*chunks: bytes, **form: object) -> PlainMeter:
    meter = PlainMeter(stream=True, **form)
    for chunk in chunks:
        meter.feed(chunk)
    meter.end()
    return meter


def test_events_are_the_same_wherever_they_are_cut() -> None:
    for at in range(len(STREAM) + 1):
        meter = fed(STREAM[:at], STREAM[at:])
        assert (meter.seen, meter.complete, meter.answered) == (SEEN, True, True)


def test_an_answer_in_json_is_read_at_its_end() -> None:
    meter = PlainMeter(stream=True)
    meter.feed(b'{"text":"x"}')
    assert (meter.seen, meter.shows_its_end) == ([], False)
    meter.end()
    meter.end()
    assert (meter.seen, meter.shows_its_end) == ([b'{"text":"x"}'], True)


def test_what_is_compressed_is_read_and_what_cannot_be_counts_with_its_bytes() -> None:
    packed = gzip.compress(STREAM)
    assert fed(packed[:9], packed[9:], content_encoding="gzip").seen == SEEN
    blind = fed(b"x" * 80, content_encoding="unheard-of")
    assert (blind.unreadable, blind.answered, blind.output_measure) == (True, True, 20)


def test_an_answer_too_large_to_be_kept_gives_its_ends() -> None:
    meter = fed(b'{"' + b"x" * 300_000, answer_bytes_max=200_000)
    assert meter.oversized
    assert [len(part) for part in meter.seen] == [65_536, 65_536]


@pytest.mark.parametrize("page", [b"<html>no</html>", b"upstream request timeout"])
def test_a_page_is_no_answer(page: bytes) -> None:
    meter = PlainMeter(stream=True)
    meter.feed(page)
    assert (meter.answered, meter.output_measure) == (False, 0)


def test_an_event_that_is_not_over_is_in_no_clients_hands() -> None:
    meter = PlainMeter(stream=True)
    meter.feed(STREAM[:15] + b'data: {"c":"' + b"x" * 400)
    assert meter.output_so_far == 2
    assert meter.output_measure > 100 and not meter.text_known
    assert meter.whole_events(STREAM[:15] + b"data: ") == STREAM[:15]


def test_an_error_by_name_is_one_though_its_line_is_never_over() -> None:
    meter = PlainMeter(stream=True)
    meter.feed(STREAM[:15] + b'error: {"m":1}')
    assert not meter.error
    meter.end()
    assert meter.error
