"""One notice: what happened, in words for people and in members for programs.

It holds names from the config, amounts and times. No key, no prompt, no answer and no text of an
end user is ever a part of it.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final, Literal, TypeAlias, get_args

import msgspec

Event: TypeAlias = Literal[
    "limit_near",
    "limit_reached",
    "key_expiring",
    "unpriced_model",
    "ledger_behind",
    "upstream_credential_rejected",
]
EVENTS: Final[tuple[Event, ...]] = get_args(Event)
# What concerns one team: its own receivers hear of nothing else.
TEAM_EVENTS: Final[tuple[Event, ...]] = ("limit_near", "limit_reached", "key_expiring")

# Teams takes messages of 28 KB; a limit's list of models may be any length.
TEXT_CHARS_MAX = 400

Value: TypeAlias = str | int | None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that operators are told.

    event · what kind, as the config names it, or a test    at_ms · when it was seen
    subject · a receiver is told once of each subject, until `until_ms` (None: for ever)
    team · whom it concerns; None: no single team
    title · one sentence    facts · names and values beneath it    data · the same for programs
    """

    event: Event | Literal["test"]
    at_ms: int
    subject: str
    until_ms: int | None = None
    team: str | None = None
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    data: dict[str, Value] = {}


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A notice for one receiver. Those with the same `message_id` go out as one message."""

    receiver: str
    message_id: str
    notice: Notice


def plain(text: str) -> str:
    """The text on one line, without what no reader can see, and not too long."""
    seen = "".join(sign if sign.isprintable() else " " for sign in text)
    return seen if len(seen) <= TEXT_CHARS_MAX else f"{seen[: TEXT_CHARS_MAX - 1]}…"


def moment(at_ms: int, zone: tzinfo) -> str:
    """`2026-12-01 00:00 Europe/Berlin`: a time for people."""
    local = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M} {zone}"


def iso(at_ms: int, zone: tzinfo = UTC) -> str:
    """The same for programs, to the second: ISO 8601 with its offset."""
    local = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(zone)
    return local.isoformat(timespec="seconds")
