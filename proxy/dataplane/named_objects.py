"""Which objects of a vendor a body names: nobody may have another team's file read or used.

Every text of JSON and every field of a form is looked at, since of a name that stands twice readers
take either value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.scan import count, holds
from proxy.core.errors import ProxyError, invalid_request
from proxy.dataplane.owners import Owners

# Members end so that name a file to be read.
_NAMES_A_FILE = ("file_id", "file_ids", "training_file", "validation_file")
_STRING = re.compile(rb'"((?:[^"\\]++|\\.)*+)"([ \t\r\n]*+:)?', re.DOTALL)
_ID_BYTES_MAX = 6 * 256  # of one that is escaped throughout; what is longer is no id
# All that can be an id between two quotes, and some of what stands between two strings. The second
# quote may be the first one of the next.
_ID = re.compile(rb'(?<!\\)"((?:[A-Za-z0-9._~:@+=,-]|\\u00[2-7][0-9a-fA-F]){1,256}+)(?=")')
_ID_STEP_BYTES = 64 * 1024
_STRINGS_MAX = 2**18  # of a body whose every member is looked at by its name
# What ids are made of, and what stands between the parts of a field's name: `a[file_ids][0]`.
_WORDS = (re.compile(r"[A-Za-z0-9_-]+"), re.compile(r"[A-Za-z0-9._~:@+=,-]+"))
_BRACKETS = re.compile(r"[\[\].]+")
# One of these stands in every body that names a file, a store of them or a container; or an escape.
_HINTS = (b"_id", b"container", b"\\u")


class Claimant(msgspec.Struct, frozen=True):
    """Who asks which upstream, beside what is known of owners there."""

    owners: Owners
    upstream: str
    team: str | None
    key_id: str

    def owns(self, id: str) -> bool:
        return self.owners.owns(self.upstream, self.team, self.key_id, id)

    def sees_anothers(self, id: str) -> bool:
        return self.owners.anothers(self.upstream, self.team, self.key_id, id)


def check_named(body: bytes, claimant: Claimant) -> None:
    """Raises 404 for a body that names what somebody else is known to have made.

    For calls: their tools have ids of their own, so that an unknown one is no reason to refuse.
    """
    if not any(holds(body, hint) for hint in _HINTS):
        return
    step, most = _ID_STEP_BYTES, _ID_STEP_BYTES + _ID_BYTES_MAX + 2
    for at in range(0, len(body), step):
        for found in set(_ID.findall(body, at, at + most)):
            text = msgspec.json.decode(b'"%b"' % found, type=str)
            if claimant.sees_anothers(text):
                raise no_object(text)


def check_whole(body: bytes, claimant: Claimant) -> None:
    """The same for JSON that is no call, with files that nobody here has made. Raises 400 for a
    body of so many texts that looking at them would keep others waiting."""
    if count(body, b'"') > 2 * _STRINGS_MAX:
        raise invalid_request(
            f"The request body holds more than {_STRINGS_MAX} names and strings. Send less at once."
        )
    for text, names_file in _texts(body):
        if claimant.sees_anothers(text) or (names_file and not claimant.owns(text)):
            raise no_object(text)


def check_field(name: str, value: bytes, claimant: Claimant, *, is_file: bool) -> None:
    """The same for one part of a form. A file's name names no object, its content may: there are
    readers that take it for a field."""
    text = value.decode("utf-8", "replace").strip()
    last = next((part for part in _named_by(name) if part.endswith(_NAMES_A_FILE)), None)
    if not is_file and text[:1] in ("{", "[", '"'):
        check_whole(b"%b:%b" % (msgspec.json.encode(last or name), value), claimant)
    elif not is_file and last is not None and not claimant.owns(text):
        raise no_object(text)
    for spelled in {text, unquote_plus(text)}:
        for words in _WORDS:
            for word in set(words.findall(spelled)):
                if claimant.sees_anothers(word):
                    raise no_object(word)


def _named_by(name: str) -> list[str]:
    """The parts of a field's name, in small letters."""
    return _BRACKETS.split(unquote_plus(name).strip().lower())


def no_object(id: str) -> ProxyError:
    """404: unknown here, or another team's, which looks the same."""
    message = f"There is no object {id[:100]!r} that this key's team has made through this proxy."
    return ProxyError(404, "invalid_request_error", "object_not_found", message)


def _texts(body: bytes) -> Iterator[tuple[str, bool]]:
    """Every text that can be an id, and whether its member names a file."""
    names_file = False
    for found in _STRING.finditer(body):
        if found.end(1) - found.start(1) > _ID_BYTES_MAX:
            continue
        try:
            text = msgspec.json.decode(b'"%b"' % found[1], type=str)
        except JSON_ERRORS:  # half a character: no id has one
            text = ""
        if found[2]:
            names_file = text.lower().endswith(_NAMES_A_FILE)
        elif text or names_file:
            yield text, names_file
