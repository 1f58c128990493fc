"""Reads a copy of a passed answer: the usage it states, and the ids of what it makes.

Its text is not counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator

import msgspec

from proxy.core.dialects.answer_body import AnswerBody
from proxy.core.dialects.batch import OBJECT, VendorsBatch
from proxy.core.dialects.contract import (
    ANSWER_BYTES_MAX,
    EVENT_BYTES_MAX,
    MEASURE_UNCALIBRATED,
)
from proxy.core.dialects.repair import REPAIRED_BYTES_MAX, repaired
from proxy.core.dialects.run import Run
from proxy.core.dialects.stated import Stated, read_stated
from proxy.core.dialects.texts import Texts
from proxy.core.usage import Usage

IDS_CHARS_MAX = 256  # of all ids of one answer, as a record has room for
_ID_CHARS_MAX = 128
_NAME_CHARS_MAX = 128
_READABLE = ("json", "event-stream", "ndjson")  # in a content type; others are passed on unread
# members of an answer that name what the vendor has made for this request, beside `id`
_MADE = ("output_file_id", "error_file_id")
_USAGE = re.compile(rb'(?<!\\)"(?:usage|billed_units)"\s*+:\s*+\{')
_USAGE_BYTES_MAX = 64 * 1024
_ID = re.compile(r"[A-Za-z0-9._~:@+=,-]+")
_Object = dict[str, msgspec.Raw]
_objects = msgspec.json.Decoder(_Object)
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


class PassMeter:
    """The meter of one answer.

    `metered`: its usage is wanted, else it has none. `makes`: the ids in it are those of an object
    that this request has made or asked for by its id. `batch`: that object, if it is one.
    """

    usage_current = False
    done = complete = error = doubtful = unreadable = False
    between_events = True
    output_measure = output_so_far = text_bytes = 0
    text_known = True
    goes_on = False
    next_number = 0
    item_ids: Collection[str] = ()
    finish_reason: str | None = None
    texts: Texts | None = None
    run: Run | None = None

    def __init__(
        self,
        *,
        stream: bool,
        status: int = 200,
        content_type: str | None = None,
        content_encoding: str | None = None,
        event_bytes_max: int = EVENT_BYTES_MAX,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        cached_inside_input: bool = True,
        measure: tuple[int, int] = MEASURE_UNCALIBRATED,
        text_bytes_max: int | None = 0,
        metered: bool = True,
        makes: bool = False,
    ) -> None:
        del measure, text_bytes_max  # no text is counted
        self._ok = 200 <= status < 300
        self._metered = metered
        self._makes = makes
        self._cached_inside_input = cached_inside_input
        kind = (content_type or "json").lower()
        wanted = self._ok and (metered or makes) and any(word in kind for word in _READABLE)
        self._body: AnswerBody | None = None
        if wanted:
            self._body = AnswerBody(
                stream=stream,
                content_type=content_type,
                content_encoding=content_encoding,
                status=status,
                event_bytes_max=event_bytes_max,
                answer_bytes_max=answer_bytes_max,
            )
        self._stated: Stated | None = None
        self._usage: Usage | None = None
        self._ended = False
        self.shows_its_end = False
        self.oversized = False
        self.model_served: str | None = None
        self.service_tier: str | None = None
        self.response_id: str | None = None
        self.batch: VendorsBatch | None = None

    def feed(self, chunk: bytes) -> None:
        """One chunk as it came. Events are read as they come, JSON when it is whole."""
        body = self._body
        if body is not None and not self._ended:
            for piece in body.pieces(chunk):
                for event in body.events(piece):
                    self._read(event)

    def end(self) -> None:
        """Reads the JSON answer; of one that was too large, its last usage object."""
        body = self._body
        if self._ended or body is None:
            return
        self._ended = True
        for event in body.end():
            self._read(event)
        self.oversized = body.oversized
        if body.json:
            if body.kept.cut:
                self._search(body.kept.ends())
            else:
                self.shows_its_end = self._read(body.kept.whole())

    def take_over(self) -> None:
        """Nothing is ever taken but by `feed`."""

    def room_bytes(self, output_tokens: int) -> int:
        """No text is counted."""
        del output_tokens
        return 0

    def whole_events(self, chunk: bytes) -> bytes:
        """No event of ours is ever put into such an answer."""
        return chunk

    @property
    def usage(self) -> Usage | None:
        return self._usage

    @property
    def usage_final(self) -> bool:
        """True where nothing more that is charged is to come.

        So the journal has the status before the client can see any of the answer.
        """
        return self._usage is not None or not self._metered

    @property
    def answered(self) -> bool | None:
        """A 2xx status is an answer here, whatever is in it."""
        return True if self._ok else None

    def _read(self, text: bytes) -> bool:
        """One JSON value; False if it is none. Of a damaged one the usage that it states counts."""
        members = _members(text)
        if members is None:
            self._search((text,))
            return False
        if self._makes:
            self._read_ids(members)
            self._read_batch(members)
        if self._metered and self.batch is None:
            self._read_usage(members)
        return True

    def _read_batch(self, members: _Object) -> None:
        """What it states is not this answer's use: every look at it states the same again."""
        id = _text(members.get("id"))
        if _text(members.get("object")) != OBJECT or id is None or not _is_id(id):
            return
        stated = read_stated(_values(members.get("usage")))
        model = _text(members.get("model"))
        self.batch = VendorsBatch(
            id,
            (_text(members.get("status")) or "")[:_NAME_CHARS_MAX],
            None if stated is None else stated.usage(cached_inside_input=self._cached_inside_input),
            None if not model else model[:_NAME_CHARS_MAX],
        )

    def _read_usage(self, members: _Object) -> None:
        model = _text(members.get("model"))
        if model is not None:
            self.model_served = model[:_NAME_CHARS_MAX]
        tier = _text(members.get("service_tier"))
        if tier is not None:
            self.service_tier = tier[:_NAME_CHARS_MAX]
        for stated in _usages(members):
            self._take(stated)
        if "response" in members:  # an event that wraps what it is about
            inner = _object(members["response"])
            for stated in _usages(inner):
                self._take(stated)

    def _take(self, members: dict[str, object]) -> None:
        stated = read_stated(members)
        if stated is None:
            return
        self._stated = stated if self._stated is None else self._stated.merged(stated)
        self._usage = self._stated.usage(cached_inside_input=self._cached_inside_input)

    def _read_ids(self, members: _Object) -> None:
        found = [_text(members.get(name)) for name in ("id", *_MADE)]
        found.append(_text(_object(members.get("file")).get("id")))
        ids = list(dict.fromkeys(id for id in found if id is not None and _is_id(id)))
        while ids and len(" ".join(ids)) > IDS_CHARS_MAX:
            ids.pop()
        if ids and self.response_id is None:
            self.response_id = " ".join(ids)

    def _search(self, parts: tuple[bytes, ...]) -> None:
        """The usage in what cannot be read whole: it is damaged, or it was too large to keep, as
        images are, and these are its ends."""
        if not self._metered:
            return
        for part in parts:
            for match in _USAGE.finditer(part):
                members = _first_object(part[match.end() - 1 :][:_USAGE_BYTES_MAX])
                if members is not None:
                    self._take(members)


def _usages(members: _Object) -> Iterator[dict[str, object]]:
    """The objects that may state the usage: OpenAI's, and Cohere's units in `meta`."""
    yield _values(members.get("usage"))
    meta = _object(members.get("meta"))
    yield _values(meta.get("tokens"))
    yield _values(meta.get("billed_units"))


def _members(text: bytes) -> _Object | None:
    """The members of an object, mended where that can be done in a moment; None where it is none,
    or beyond repair."""
    try:
        return _objects.decode(text)
    except _ERRORS:
        pass
    try:
        return _objects.decode(repaired(text)) if len(text) <= REPAIRED_BYTES_MAX else None
    except _ERRORS:
        return None


def _object(raw: msgspec.Raw | None) -> _Object:
    if raw is None:
        return {}
    try:
        return _objects.decode(raw)
    except _ERRORS:
        return {}


def _values(raw: msgspec.Raw | None) -> dict[str, object]:
    if raw is None:
        return {}
    try:
        found = msgspec.json.decode(raw)
    except _ERRORS:
        return {}
    return found if isinstance(found, dict) else {}


def _text(raw: msgspec.Raw | None) -> str | None:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=str)
    except _ERRORS:
        return None


def _is_id(text: str) -> bool:
    return len(text) <= _ID_CHARS_MAX and _ID.fullmatch(text) is not None


def _first_object(text: bytes) -> dict[str, object] | None:
    """The JSON object that this text begins with."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text.decode("utf-8", "replace"))
    except _ERRORS:
        return None
    return found if isinstance(found, dict) else None
