"""Of what is damaged beyond repair, the members that are whole are read."""

from __future__ import annotations

from proxy.core.dialects.anthropic_messages.salvage import salvaged

USAGE = b'"usage":{"input_tokens":7,"output_tokens":3}'


def test_what_is_whole_is_found() -> None:
    found = salvaged(b'{"id":"msg_1","model":"m","content":[{"te\xff' + USAGE + b',"stop_reason":"end_turn","x')  # fmt: skip
    assert (bytes(found.id), bytes(found.model)) == (b'"msg_1"', b'"m"')
    assert bytes(found.stop_reason) == b'"end_turn"'
    assert bytes(found.usage) == b'{"input_tokens": 7, "output_tokens": 3}'


def test_a_usage_that_is_cut_is_none_and_an_earlier_one_stands() -> None:
    assert bytes(salvaged(b'{"usage":{"input_tokens":7').usage) == b""
    assert bytes(salvaged(b"{" + USAGE + b',"usage":{"input').usage) != b""


def test_a_large_text_is_looked_at_from_both_ends() -> None:
    found = salvaged(b'{"model":"m",' + b"x" * 400_000 + USAGE)
    assert bytes(found.model) == b'"m"' and bytes(found.usage) != b""
