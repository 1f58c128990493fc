"""Notes and proofs in the formats of transparency logs."""

from __future__ import annotations

from base64 import b64decode

import pytest

from proxy.core.records import checkpoints
from proxy.core.records.checkpoints import (
    checkpoint_text,
    key_name_of,
    note_key_of,
    record_proof,
    signature_of,
    signed_note,
)
from proxy.core.records.merkle import leaf_hash, path_of, root_of

PUBLIC, SIGNATURE = bytes(range(32)), bytes(64)


def test_the_id_of_a_key_is_the_one_in_gos_own_documentation() -> None:
    """A verifier key from the documentation of golang.org/x/mod/sumdb/note."""
    vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    name, hex_id, text = vkey.split("+", 2)
    raw = b64decode(text)
    assert raw[0] == 1
    assert checkpoints._key_id(name, raw[1:]).hex() == hex_id


def test_a_note_is_its_text_and_one_line_for_its_signature() -> None:
    text = checkpoint_text(PUBLIC, "2026-11", 33, bytes(32))
    origin, size, root = text.splitlines()
    assert origin == f"{key_name_of(PUBLIC)}/2026-11" and " " not in origin and "+" not in origin
    assert (size, b64decode(root)) == ("33", bytes(32))
    note = signed_note(text, PUBLIC, SIGNATURE)
    head, _, line = note.partition("\n\n")
    assert head + "\n" == text and line.startswith(f"\u2014 {key_name_of(PUBLIC)} ")
    assert signature_of(note) == (text, SIGNATURE)
    assert note_key_of(PUBLIC).split("+")[0] == key_name_of(PUBLIC)


@pytest.mark.parametrize("note", ["", "a\n\n", "a\n\n\u2014 b !\n", "a\n\n\u2014 b QUJD\n"])
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(ValueError):
        signature_of(note)


def test_a_proof_has_the_same_path_in_each_form() -> None:
    hashes = [leaf_hash(b"[%d]" % n) for n in range(5)]
    text = checkpoint_text(PUBLIC, "2026-11", 5, root_of(hashes))
    proof = record_proof(
        id="a",
        month="2026-11",
        leaf=b"[3]",
        index=3,
        size=5,
        path=path_of(hashes, 3),
        checkpoint=signed_note(text, PUBLIC, SIGNATURE),
        public_key=PUBLIC,
        hash_version=2,
    )
    assert proof.root == root_of(hashes).hex() and len(proof.hashes) == 3
    assert proof.pymerkle.path == [hashes[3].hex(), *proof.hashes]
    assert proof.pymerkle.rule == [1, 1, 0, 0]
    lines = proof.tlog_proof().split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 3"]
    assert [b64decode(line).hex() for line in lines[2:5]] == proof.hashes
    assert "\n".join(lines[6:]) == proof.checkpoint and lines[5] == ""
