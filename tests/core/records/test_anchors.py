"""An anchor's text, and what is said of a chain that does not agree with it."""

from __future__ import annotations

import msgspec
import pytest

from proxy.core.records.anchors import ANCHOR_CHARS_MAX, Anchor, ChainEnd, anchors_of, flaw_at
from proxy.core.records.canonical import key_name, seal
from tests.ledger.samples import KEY

HASH = bytes(range(32))
END = ChainEnd(7, HASH.hex())
ANCHOR = Anchor(
    ledger="/var/lib/tollkeeper/ledger.db",
    seq=7,
    hash=HASH.hex(),
    booked_at_ms=5,
    key_name=key_name(KEY),
    seal=seal(KEY, 7, 5, HASH).hex(),
    credits=ChainEnd(0, HASH.hex()),
)


def test_a_file_has_one_anchor_a_line() -> None:
    line = msgspec.json.encode(ANCHOR).decode()
    assert len(line) < ANCHOR_CHARS_MAX and "\n" not in line
    assert anchors_of(f"{line}\n\n{line}") == [ANCHOR, ANCHOR]
    assert [name for name, _ in ANCHOR.ends()] == ["records", "credits"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no anchor in it"),
        ("\n\n", "there is no anchor in it"),
        ("{}", "line 1 is no anchor"),
        ("nonsense", "line 1 is no anchor"),
        (msgspec.json.encode(ANCHOR).decode() + "\n[1]", "line 2 is no anchor"),
        (msgspec.json.encode(ANCHOR).decode().replace("0001", "zz01"), "line 1 is no anchor"),
        (msgspec.json.encode(ANCHOR).decode().replace("000102", "0102"), "64 hex digits"),
        (msgspec.json.encode(ANCHOR).decode().replace('anchor":1', 'anchor":2'), "no anchor"),
    ],
)
def test_what_is_no_anchor_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        anchors_of(text)


def test_its_seal_is_its_keys() -> None:
    assert ANCHOR.sealed_with(KEY) is True
    assert ANCHOR.sealed_with(bytes(32)) is None
    assert msgspec.structs.replace(ANCHOR, seq=8).sealed_with(KEY) is False


@pytest.mark.parametrize(
    ("last_seq", "found", "said"),
    [
        (7, HASH, None),
        (99, HASH, None),
        (6, None, "they end at 6 now: the end was cut off"),
        (0, None, "they end at 0 now"),
        (9, None, "the row of the anchor, seq 7, is gone"),
        (9, bytes(32), "seq 7 has another hash than in the anchor: the book was made anew"),
    ],
)
def test_a_chain_that_does_not_agree(last_seq: int, found: bytes | None, said: str | None) -> None:
    flaw = flaw_at("records", END, last_seq, found)
    assert flaw is None if said is None else flaw is not None and said in flaw.what
