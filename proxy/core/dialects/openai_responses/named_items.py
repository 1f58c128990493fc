"""Which of a vendor's items a request for a response names: earlier ones, and containers.

An item by reference has nothing but its id, and the vendor puts in what it keeps under that. Other
items are whole, and name where they come from beside that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.names import squeezed
from proxy.core.dialects.openai_responses.endpoints import known_as
from proxy.core.dialects.openai_responses.response import text
from proxy.core.dialects.scan import Ambiguous, walk

_IDS: Final = ("id", "approval_request_id", "container_id")
_GUARDED: Final = {squeezed(name): name for name in (*_IDS, "type", "encrypted_content")}
_EMPTY: Final = re.compile(rb'|null|""|\[[ \t\r\n]*+\]')
_BYTES_MIN: Final = 10  # of an item that names another: {"id":"x"}
# What holds the content of an item of this type, where it is not left to the vendor.
_CONTENT: Final = {
    "reasoning": ("encrypted_content", "content"),
    "image_generation_call": ("result",),
    "file_search_call": ("results",),
}
_items_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_Members = Mapping[str, msgspec.Raw]


class NamedItems(NamedTuple):
    """`ids`: all that are named. `references`: those of them whose content the vendor puts in."""

    ids: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


def named_items(input: msgspec.Raw | None) -> NamedItems:
    """The ids in the input. Raises Ambiguous where readers could find another id in an item."""
    ids: dict[str, None] = {}
    references: dict[str, None] = {}
    for item in _objects(input):
        members = _members(item)
        if members is None:
            continue
        own, *others = (text(members.get(name, msgspec.Raw())) for name in _IDS)
        ids.update((known_as(id), None) for id in (own, *others) if id is not None)
        if own is not None and _is_reference(members):
            references[known_as(own)] = None
    return NamedItems(tuple(ids), tuple(references))


def named_containers(tools: msgspec.Raw | None) -> tuple[str, ...]:
    """The containers that tools are to run in. Raises Ambiguous likewise."""
    ids: dict[str, None] = {}
    for tool in _objects(tools):
        if b"container" in tool or b"\\u" in tool:
            ids.update((known_as(id), None) for id in _containers(tool))
    return tuple(ids)


def _objects(raw: msgspec.Raw | None) -> list[bytes]:
    """The entries of a list that are objects; one object stands for a list of one."""
    if raw is None:
        return []
    begins = bytes(memoryview(raw)[:1])
    if begins == b"{":
        return [bytes(raw)]
    if begins != b"[":
        return []
    try:
        found = _items_decoder.decode(raw)
    except JSON_ERRORS:
        return []
    return [bytes(entry) for entry in found if memoryview(entry).nbytes >= _BYTES_MIN]


def _members(item: bytes) -> _Members | None:
    """The members of an item that names anything; None for any other."""
    try:
        members = _members_decoder.decode(item)
    except JSON_ERRORS:
        return None
    names = False
    for name in members:
        known = _GUARDED.get(squeezed(name))
        if known is not None and known != name:
            raise Ambiguous(known)
        names |= known in _IDS
    if not names:
        return None
    walk(item, members)
    return members


def _is_reference(members: _Members) -> bool:
    kind = text(members.get("type", msgspec.Raw()))
    if kind is None:
        return "content" not in members
    if kind == "item_reference":
        return True
    content = _CONTENT.get(kind)
    return content is not None and all(
        _EMPTY.fullmatch(members.get(name, b"")) is not None for name in content
    )


def _containers(tool: bytes) -> list[str]:
    """The container that a tool runs in: its id, or an object that names it."""
    try:
        members = _members_decoder.decode(tool)
        walk(tool, members)
        found = [text(members.get("container", msgspec.Raw()))]
        for name in ("container", "environment"):
            inner = bytes(members.get(name, b""))
            if inner[:1] == b"{":
                inside = _members_decoder.decode(inner)
                walk(inner, inside)
                found.append(text(inside.get("container_id", msgspec.Raw())))
    except JSON_ERRORS:
        return []
    return [id for id in found if id is not None]
