"""Reads lists and values in a moment or not at all: the work is bounded, whatever they hold."""

from __future__ import annotations

from typing import Any, Final

import msgspec

# entries of one list: vendors allow 128 choices or calls, batches of prompts are longer
ENTRIES_MAX: Final = 2048
_LIST_BYTES: Final = 64 * 1024  # a list up to this size has few enough entries to be read at once
_BRACKETS_MAX: Final = 20_000  # of a value that is made into objects
_COMMAS_MAX: Final = 100_000  # likewise
_ABSENT: Final = msgspec.Raw()


class TooMuch(ValueError):
    """A value holds more than can be read in a moment."""


def bounded(entries_max: int) -> msgspec.json.Decoder[Any]:
    """Reads an array as an object of so many members: the first one too many ends the reading.
    Making one takes 30 ms, so those who read alike share it."""
    members = [(f"entry_{number}", msgspec.Raw, _ABSENT) for number in range(entries_max)]
    return msgspec.json.Decoder(
        msgspec.defstruct("Entries", members, array_like=True, forbid_unknown_fields=True)
    )


def entries(array: msgspec.Struct) -> list[msgspec.Raw]:
    """Those that a decoder of `bounded` found."""
    found = (getattr(array, name) for name in array.__struct_fields__)
    return [entry for entry in found if memoryview(entry).nbytes]


_large_decoder: Final = bounded(ENTRIES_MAX)
_loose_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])


class ListDecoder:
    """Reads a list of objects, but none with more entries than are read in a moment."""

    def __init__(self, entry: Any) -> None:
        self._small = msgspec.json.Decoder(list[entry | None])
        self._one = msgspec.json.Decoder(entry)

    def decode(self, raw: bytes) -> list[Any]:
        """The entries that are objects. One object without its list is a list of one."""
        try:
            if raw[:1] == b"{":
                return [self._one.decode(raw)]
            if raw[:1] != b"[":
                return []
            if len(raw) > _LIST_BYTES:
                found = [
                    self._one.decode(entry)
                    for entry in entries(_large_decoder.decode(raw))
                    if bytes(memoryview(entry)) != b"null"
                ]
            else:
                found = self._small.decode(raw)
        except msgspec.ValidationError:
            if len(raw) > _LIST_BYTES:
                raise TooMuch from None
            found = [
                self._one.decode(entry)
                for entry in _loose_decoder.decode(raw)
                if bytes(entry).lstrip()[:1] == b"{"
            ]
        if len(found) > ENTRIES_MAX:
            raise TooMuch
        return [entry for entry in found if entry is not None]


def check_small(text: bytes) -> None:
    """TooMuch for a value that would take more than a moment to be made into objects."""
    if len(text) > _LIST_BYTES and (
        text.count(b"[") + text.count(b"{") > _BRACKETS_MAX or text.count(b",") > _COMMAS_MAX
    ):
        raise TooMuch
