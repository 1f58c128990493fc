"""Finds values inside the JSON texts that records have."""

from __future__ import annotations

from typing import Final

_ESCAPED_NUL: Final = "chr(92) || 'u0000'"
_ESCAPED_UNREADABLE: Final = "chr(92) || 'ufffd'"


def json_value(column: str, name: str) -> str:
    """SQL for the value of a name in a column that holds a JSON object of texts.

    `name` is SQL too. PostgreSQL makes no text of an escaped NUL, which a ledger that was copied
    may have: it is read as U+FFFD, as what is booked here is written.
    """
    readable = f"replace({column}, {_ESCAPED_NUL}, {_ESCAPED_UNREADABLE})"
    return f"({readable}::json ->> {name}::text)"
