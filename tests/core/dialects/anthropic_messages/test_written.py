"""Texts of a message: increments, and the input of a call in whatever form it comes."""

from __future__ import annotations

import msgspec

from proxy.core.dialects.anthropic_messages.events import ContentBlock, Delta
from proxy.core.dialects.anthropic_messages.written import WrittenBlocks
from proxy.core.dialects.texts import Texts


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


CALL = ContentBlock(type=raw('"tool_use"'), name=raw('"f"'), input=raw('{"a": 1}'))


def test_an_input_at_the_beginning_counts_unless_it_comes_in_pieces() -> None:
    at_once, in_pieces = WrittenBlocks(None), WrittenBlocks(None)
    assert (at_once.begin(b"0", CALL), at_once.flush(), at_once.flush()) == (1, 8, 0)
    in_pieces.begin(b"0", CALL)
    assert in_pieces.go_on(b"0", Delta(partial_json=raw('"{}"'))) == 2
    assert (in_pieces.flush(), in_pieces.text_bytes) == (0, 3)


def test_the_next_block_ends_one_that_was_not_ended() -> None:
    written = WrittenBlocks(None)
    written.begin(b"0", CALL)
    assert written.begin(b"1", ContentBlock(type=raw('"text"'), text=raw('"hi"'))) == 8 + 2


def test_each_block_is_a_text_of_its_own() -> None:
    texts = Texts(None)
    written = WrittenBlocks(texts)
    written.take_whole(0, ContentBlock(type=raw('"text"'), text=raw('"one"')))
    written.take_whole(1, CALL)
    texts.finish()
    assert texts.blocks == ["one", 'f{"a": 1}']
    assert (written.text_bytes, written.doubtful) == (12, False)
