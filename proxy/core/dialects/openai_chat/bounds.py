"""How much a request may use at most, as far as its body says: how many answers it asks for, and whether its prompt is text alone.

For limits that admit only what can be bounded. Whatever could be read in two ways counts as "cannot be told".
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MEDIA = (b'"image_url"', b'"input_audio"', b'"file"')
_MEDIA_BYTES_MAX = 2**20
_ANSWERS_MAX = 2**20                    # more than any vendor gives
_BEYOND_TEXT = ("web_search_options", "audio")  # what is found or spoken is billed, and no cap of tokens covers it
_items_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def answers_max(endpoint: str, fields: Mapping[str, msgspec.Raw]) -> int | None:
    """How many answers, each up to the cap on its tokens, this request may get; 0: its answer is no text. None: that cannot be told."""
    if endpoint == "/v1/embeddings":
        return 0
    if any(name in fields for name in _BEYOND_TEXT):
        return None
    most = _count(fields.get("n"))
    if endpoint == "/v1/completions" and most is not None:
        best_of, prompts = _count(fields.get("best_of")), _prompts(fields.get("prompt"))
        most = None if best_of is None or prompts is None else max(most, best_of) * prompts
    return most if most is None or most <= _ANSWERS_MAX else None


def holds_media(body: bytes) -> bool:
    """Whether there may be anything but text in it; looked for in the size that is worth it."""
    if len(body) > _MEDIA_BYTES_MAX:
        return True
    if body.find(b"\\u00") >= 0:        # a name may be written in escapes
        try:
            body = msgspec.json.encode(msgspec.json.decode(body))
        except _JSON_ERRORS:
            return True
    return any(body.find(name) >= 0 for name in _MEDIA)


def _count(raw: msgspec.Raw | None) -> int | None:
    """1 where nothing is named; None for anything but a whole number from 1 on."""
    text = b"null" if raw is None else bytes(raw)
    if text == b"null":
        return 1
    return int(text) if text.isdigit() and len(text) < 9 and int(text) >= 1 else None


def _prompts(raw: msgspec.Raw | None) -> int | None:
    """Each prompt of a list is answered: of texts, or of lists of tokens. A list of tokens is one prompt."""
    if raw is None or bytes(memoryview(raw)[:1]) != b"[":
        return 1
    try:
        items = _items_decoder.decode(raw)
    except _JSON_ERRORS:
        return None
    if not items or bytes(items[0])[:1] not in (b'"', b"["):
        return 1
    return len(items)
