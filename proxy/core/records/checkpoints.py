"""The head of a month's tree as a signed note, and a proof that a record is in it.

The formats are those of transparency logs, which others' tools read: c2sp.org/signed-note,
c2sp.org/tlog-checkpoint and c2sp.org/tlog-proof. A month is a log of its own, whose origin names
the key and the month. The note is signed with ed25519; making and checking a signature is not done
here.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from proxy.core.records.canonical import HASHED_BY_VERSION
from proxy.core.records.merkle import Sibling, followed, leaf_hash

_ED25519: Final = b"\x01"  # the algorithm, in the id and in the text of a note's key
_DASH: Final = "\u2014"


class PymerkleProof(msgspec.Struct, frozen=True):
    """The same path as the Python library pymerkle reads it (`MerkleProof.deserialize`)."""

    type: Literal["inclusion"]
    metadata: dict[str, str | int | bool]
    rule: list[int]
    path: list[str]


class RecordProof(msgspec.Struct, frozen=True, kw_only=True):
    """A proof that a record is in the tree of its month.

    leaf · the record as it is hashed: a JSON array    columns · the names of its values
    index · its place in the tree, from 0 on    size · how many leaves the tree has
    root, hashes · the root, and the siblings from the leaf up, as hex digits
    checkpoint · the signed note    public_key · of the signature, as hex digits
    note_key · the same as a verifier key of notes
    """

    tollkeeper_proof: Literal[1] = 1
    id: str
    month: str
    leaf: str
    columns: Sequence[str]
    index: int
    size: int
    root: str
    hashes: list[str]
    checkpoint: str
    public_key: str
    note_key: str
    pymerkle: PymerkleProof

    def tlog_proof(self) -> str:
        """The same as a `.tlog-proof` file."""
        hashes = [b64encode(bytes.fromhex(text)).decode() for text in self.hashes]
        lines = ["c2sp.org/tlog-proof@v1", f"index {self.index}", *hashes, "", self.checkpoint]
        return "\n".join(lines)


def key_name_of(public_key: bytes) -> str:
    """The name of a signing key in notes."""
    return f"tollkeeper/{hashlib.sha256(public_key).hexdigest()[:16]}"


def note_key_of(public_key: bytes) -> str:
    """The key as tools that check notes take it: name, id and key."""
    name = key_name_of(public_key)
    text = b64encode(_ED25519 + public_key).decode()
    return f"{name}+{_key_id(name, public_key).hex()}+{text}"


def checkpoint_text(public_key: bytes, month: str, size: int, root: bytes) -> str:
    """What of a month's checkpoint is signed."""
    return f"{key_name_of(public_key)}/{month}\n{size}\n{b64encode(root).decode()}\n"


def signed_note(text: str, public_key: bytes, signature: bytes) -> str:
    """The text with its signature."""
    name = key_name_of(public_key)
    made = b64encode(_key_id(name, public_key) + signature).decode()
    return f"{text}\n{_DASH} {name} {made}\n"


def signature_of(note: str) -> tuple[str, bytes]:
    """The text of a note, and its signature. Raises ValueError for what is no note of ours."""
    text, found, line = note.partition(f"\n{_DASH} ")
    made = b64decode(line.strip().rpartition(" ")[2], validate=True)
    if not found or len(made) != 4 + 64:
        raise ValueError("no signed note")
    return text, made[4:]


def record_proof(
    *,
    id: str,
    month: str,
    leaf: bytes,
    index: int,
    size: int,
    path: Sequence[Sibling],
    checkpoint: str,
    public_key: bytes,
    hash_version: int,
) -> RecordProof:
    """The proof in all of its forms."""
    start = leaf_hash(leaf)
    hashes = [sibling.hex() for sibling, _ in path]
    pymerkle = PymerkleProof(
        "inclusion",
        {"algorithm": "sha256", "security": True, "size": size, "index": index + 1},
        # What that library says of the root itself, it never reads.
        [*(int(on_the_left) for _, on_the_left in path), 0],
        [start.hex(), *hashes],
    )
    return RecordProof(
        id=id,
        month=month,
        leaf=leaf.decode(),
        columns=HASHED_BY_VERSION[hash_version],
        index=index,
        size=size,
        root=followed(start, path).hex(),
        hashes=hashes,
        checkpoint=checkpoint,
        public_key=public_key.hex(),
        note_key=note_key_of(public_key),
        pymerkle=pymerkle,
    )


def _key_id(name: str, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]
