"""An anchor of rows, and what is told of one, without a database."""

from __future__ import annotations

import msgspec
import pytest

from proxy.core.records.anchors import ChainEnd
from proxy.core.records.canonical import key_name, seal
from proxy.ledger import QuestionRefused
from proxy.ledger.anchoring import archived, chain_end, forged, taken
from tests.ledger.samples import KEY

HASH = bytes(range(32))
HEAD = (5, HASH, 7, key_name(KEY), seal(KEY, 5, 7, HASH))


def test_an_anchor_holds_the_last_seal() -> None:
    anchor = taken("book", (*HEAD, "more"), credits=ChainEnd(1, "00"), audit=None)
    assert (anchor.ledger, anchor.seq, anchor.hash, anchor.booked_at_ms) == (
        "book",
        5,
        HASH.hex(),
        7,
    )
    assert anchor.credits == ChainEnd(1, "00")
    assert (anchor.audit, anchor.sealed_seq, anchor.chains) == (None, None, {})
    with pytest.raises(QuestionRefused, match="book has no records yet: there is nothing"):
        taken("book", None, credits=None, audit=None)


def test_a_chain_without_a_row_has_no_end() -> None:
    assert chain_end(None) is None
    assert chain_end((3, HASH)) == ChainEnd(3, HASH.hex())
    assert archived(ChainEnd(3, "00")).startswith("the anchor of seq 3 is of records")


def test_only_the_key_of_an_anchor_tells_that_it_is_forged() -> None:
    anchor = taken("book", HEAD, credits=None, audit=None)
    changed = msgspec.structs.replace(anchor, booked_at_ms=8)
    assert forged(anchor, KEY) == forged(changed, None) == forged(changed, bytes(32)) == []
    [flaw] = forged(changed, KEY)
    assert flaw.what == "the anchor of seq 5 is forged: its seal was not made with this key"
