"""When a mark is due and what it covers, and what the settlement is told at the end."""

from __future__ import annotations

import pytest

from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.records.ending import How
from proxy.core.usage import Usage
from proxy.dataplane.progress import MARK_STEP_TOKENS, Progress

USAGE = b'data: {"id":"c-1","model":"m-1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\n'
DONE = b"data: [DONE]\n\n"


def text(tokens: int) -> bytes:
    """An event with so many tokens of text: four bytes each."""
    return (
        b'data: {"id":"c-1","model":"m-1","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
        % (b"word" * tokens)
    )


def progress(status: int = 200, *, stream: bool = True) -> Progress:
    begun = Progress(0.0)
    begun.status = status
    begun.meter = ChatMeter(stream=stream, status=status)
    return begun


def relay(begun: Progress, *chunks: bytes) -> list[int | None]:
    """What each chunk's mark covers, in output tokens; None where none was due."""
    return [begun.mark("x").output_tokens if begun.take(chunk) else None for chunk in chunks]


@pytest.mark.parametrize(
    ("tokens", "marks"),
    [
        ((0, 0), [None, None]),
        ((1, 510, 1, 1), [512, None, None, 1024]),  # the 512th token is covered, the next is not
        ((511, 1, 1), [512, None, 1024]),
        ((512,), [1024]),
        ((513, 511, 1), [1024, None, 1536]),
        ((5_000, 1), [5_120, None]),  # one large chunk, one mark
    ],
)
def test_a_mark_is_due_before_more_is_delivered_than_the_last_one_covers(tokens, marks):
    assert relay(progress(), *(text(count) for count in tokens)) == marks


@pytest.mark.parametrize("tokens", [1, 7, 100, 511, 512, 513])
def test_marks_stay_ahead_by_at_most_a_step(tokens):
    begun = progress()
    covered = 0
    for _ in range(30):
        if begun.take(text(tokens)):
            covered = begun.mark("x").output_tokens
        assert begun.meter is not None
        assert (
            begun.meter.output_measure <= covered <= begun.meter.output_measure + MARK_STEP_TOKENS
        )


def test_usage_is_marked_with_the_chunk_that_states_it_and_not_again():
    begun = progress()
    assert begun.take(text(3))
    begun.mark("x")
    assert begun.take(USAGE)
    mark = begun.mark("x")
    assert (mark.id, mark.status, mark.model_served, mark.final, mark.output_tokens) == (
        "x",
        200,
        "m-1",
        True,
        512,
    )
    assert mark.usage is not None
    assert (mark.usage.input_tokens, mark.usage.output_tokens) == (9, 4)
    assert not begun.take(DONE)
    assert begun.complete


def test_a_running_total_with_each_chunk_costs_no_mark_each():
    begun = progress()
    running = text(1).replace(b"}]}", b'}],"usage":{"prompt_tokens":9,"completion_tokens":%d}}')
    assert relay(begun, *(running % count for count in range(1, 5))) == [512, None, None, None]
    assert begun.take(USAGE), "the last statement is marked before the client can see it"
    assert begun.mark("x").final


def test_an_ending_without_a_head_knows_only_how_and_how_long():
    ending = Progress(0.0).ending(How.NO_HEAD)
    assert (
        ending.how,
        ending.status,
        ending.usage,
        ending.output_measure,
        ending.first_byte_ms,
        ending.chunks,
    ) == (How.NO_HEAD, None, None, 0, None, 0)


def test_an_ending_tells_all_that_was_seen():
    begun = progress()
    chunks = (text(5), USAGE, DONE)
    relay(begun, *chunks)
    ending = begun.ending(How.ANSWERED)
    assert (ending.how, ending.status, ending.usage_final, ending.output_measure, ending.done) == (
        How.ANSWERED,
        200,
        True,
        5,
        True,
    )
    assert isinstance(ending.usage, Usage)
    assert (ending.bytes_out, ending.chunks, ending.model_served) == (
        sum(map(len, chunks)),
        3,
        "m-1",
    )
    assert ending.first_byte_ms is not None
    assert 0 <= ending.first_byte_ms <= ending.duration_ms


@pytest.mark.parametrize(("upstreams_own", "told"), [("req-7", "req-7"), ("", ""), (None, "c-1")])
def test_the_upstreams_name_for_the_request_is_its_headers_else_its_bodys(upstreams_own, told):
    begun = progress()
    begun.request_id = upstreams_own
    relay(begun, text(1))
    assert begun.ending(How.ANSWERED).upstream_request_id == told


@pytest.mark.parametrize(
    ("how", "status", "told"),
    [
        (How.ANSWERED, 200, How.ERROR_EVENT),  # it says inside that it failed
        (How.ANSWERED, 429, How.ANSWERED),  # the status says so already
        (How.CLIENT_LEFT, 200, How.CLIENT_LEFT),  # client-left rows win over the others
        (How.UPSTREAM_CUT, 200, How.UPSTREAM_CUT),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_an_error_inside_an_answer_that_was_read_whole_is_an_error_event(how, status, told, stream):
    begun = progress(status, stream=stream)
    error = b'{"error":{"message":"no","type":"server_error","code":null}}'
    relay(begun, b"data: " + error + b"\n\n" if stream else error)
    assert begun.ending(how).how is told


def test_a_client_that_leaves_after_the_end_of_a_failed_stream_changes_nothing():
    begun = progress()
    relay(begun, b'data: {"error":{"message":"no"}}\n\n', DONE)
    assert begun.ending(How.CLIENT_LEFT).how is How.ERROR_EVENT


def test_a_running_total_that_turns_out_final_is_marked_then():
    begun = progress()
    both = b'data: {"id":"c-1","model":"m-1","choices":[{"index":0,"delta":{"content":"word"}}],"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\n'
    assert begun.take(both)  # for its text
    assert not begun.mark("x").final
    assert begun.take(DONE)
    assert begun.mark("x").final
    assert not begun.take(b": the end\n\n")


@pytest.mark.parametrize(
    ("finish", "unstated"), [("tool_calls", True), ("stop", True), ("content_filter", False)]
)
def test_zeros_beside_an_answer_leave_its_prompt_to_be_counted(finish: str, unstated: bool) -> None:
    begun = progress()
    relay(
        begun,
        b'data: {"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":"%b"}]}\n\n'
        % finish.encode(),
        b'data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}\n\n',
        DONE,
    )
    assert begun.unstated is unstated
