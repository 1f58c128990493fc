"""Which paths are passed through, and what in such a path names one object of the vendor's.

A path is compared by whole segments and byte for byte. It goes upstream with the operator's
credential, and servers differ in what they decode before they look for dots and slashes, so a
segment holds nothing that more than one decoding changes and nothing that climbs.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import msgspec

# What ids of vendors are made of; one that begins with a dot is no name.
_SEGMENT = re.compile(r"[A-Za-z0-9_~:@+=,-][A-Za-z0-9._~:@+=,-]{0,255}")
_SEGMENTS_MAX = 16
# Segments that name an action or a part of an API. Any other one names an object.
_WORDS = frozenset(
    """
    abort activate archive audio batches cancel cancelations chat checkpoints complete
    completions compact content cost deactivate download edits embed embeddings events export
    extend file_batches files fine-tuning fine_tuning generations input_items input_tokens
    items jobs lyrics messages moderations ocr parts pause remix rerank responses result
    results resume runs search sounds speech steps transcriptions translations uploads
    variations versions videos voices
    """.split()
)


# Segments below which a vendor works behind its answer, and bills it then.
_LATER = frozenset(("batch", "batches", "fine-tuning", "fine_tuning"))


class PathPattern(msgspec.Struct, frozen=True):
    """A path of the config. `itself`: the path as it stands is meant; `below`: all that is under
    it."""

    parts: tuple[str, ...]
    itself: bool
    below: bool

    def rest(self, parts: tuple[str, ...]) -> tuple[str, ...] | None:
        """The segments of a path behind this one's; None if it is not meant."""
        size = len(self.parts)
        if parts[:size] != self.parts:
            return None
        if len(parts) == size:
            return () if self.itself else None
        return parts[size:] if self.below else None

    @property
    def name(self) -> str:
        """The path without its wildcard: what records, prices and limits call it."""
        return "/" + "/".join(self.parts)


def read_pattern(text: str) -> PathPattern | None:
    """`/v1/files` is this path alone, `/v1/files/*` all under it, `/v1/files*` both. None: another
    text."""
    below = text.endswith("*")
    itself = not text.endswith("/*")
    parts = segments(text.removesuffix("*").removesuffix("/") if below else text)
    return None if parts is None else PathPattern(parts, itself, below)


def segments(path: str) -> tuple[str, ...] | None:
    """The segments of a path without its query, as they came; None where one of them is strange."""
    first, *parts = path.split("/")
    if first or not parts or len(parts) > _SEGMENTS_MAX:
        return None
    return tuple(parts) if all(map(_plain, parts)) else None


def object_of(rest: tuple[str, ...]) -> str | None:
    """The id of the first object that these segments name, decoded; None if they name none."""
    return next((unquote(part) for part in rest if part not in _WORDS), None)


def works_later(parts: tuple[str, ...]) -> bool:
    """Whether what is made at these segments runs behind its answer: a batch, a training."""
    return any(unquote(part) in _LATER for part in parts)


def _plain(part: str) -> bool:
    return _SEGMENT.fullmatch(unquote(part)) is not None
