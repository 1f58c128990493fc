"""What is saved of an event or an answer that is damaged beyond repair."""

from __future__ import annotations

from proxy.core.dialects.openai_responses.response import word
from proxy.core.dialects.openai_responses.salvage import response_in, salvaged

USAGE = b'"usage":{"input_tokens":70,"output_tokens":9,"total_tokens":79}'
END = (
    b'{"type":"response.completed","response":{"id":"r","model":"m","status":"completed","output":[{"x":"y}],'
    + USAGE
)


def test_the_usage_and_the_names_of_a_last_event_are_saved() -> None:
    saved = salvaged(END)
    assert saved.ends and saved.response is not None
    assert (word(saved.response.id), word(saved.response.model)) == ("r", "m")
    assert bytes(saved.response.usage).startswith(b'{"input_tokens"')
    assert not salvaged(END.replace(b"response.completed", b"response.in_progress")).ends


def test_of_another_event_its_longest_text_is_saved() -> None:
    saved = salvaged(b'{"type":"response.output_text.delta","delta":"some text\x00,"x":')
    assert (saved.response, saved.text) == (None, b"some text\x00,")
    assert salvaged(b"[[[").text == b"[[["


def test_a_text_that_reads_like_usage_states_none() -> None:
    response = response_in(b'{"output":"\\"usage\\":{\\"input_tokens\\":1}",' + USAGE)
    assert b'"input_tokens": 70' in bytes(response.usage)
    assert bytes(response_in(b'"error":{"code":"x"').error) == b"true"
    long = b'{"model":"m",' + b'"x":"' + b"y" * 200_000 + b'",' + USAGE
    assert b"79" in bytes(salvaged(b'"object":"response",' + long).response.usage)  # type: ignore[union-attr]
