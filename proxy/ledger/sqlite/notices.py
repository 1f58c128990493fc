"""What receivers were told, in the book's database. All is synchronous, on a writing connection.

These rows are no part of the book: they are changed and go when their time is over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from proxy.core.notices.notice import Claim, Notice
from proxy.ledger import LedgerUnavailable

# What receivers were told, or are to be told: each of each subject once, over restarts and by
# however many processes. Rows whose time is over go.
NOTICES = """
CREATE TABLE notices (
    receiver TEXT NOT NULL,
    subject TEXT NOT NULL,
    message_id TEXT NOT NULL,
    until_ms INTEGER,
    sent INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (receiver, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX notices_message ON notices (message_id);
"""
_CLAIM = (
    "INSERT INTO notices (receiver, subject, message_id, until_ms, sent, doc) "
    "VALUES (?, ?, ?, ?, 0, ?) ON CONFLICT (receiver, subject) DO NOTHING"
)
_OLD = "DELETE FROM notices WHERE until_ms < ? AND sent = 1"
_UNSENT = (
    "SELECT receiver, message_id, doc FROM notices WHERE sent = 0 "
    "ORDER BY message_id, subject LIMIT ?"
)
_NOTICE = msgspec.json.Decoder(Notice)


def claim(connection: sqlite3.Connection, claims: Sequence[Claim], now_ms: int) -> list[Claim]:
    """See `Ledger.claim_notices`."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(_OLD, (now_ms,))
            new = [one for one in claims if _claimed(connection, one)]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error
    return new


def sent(connection: sqlite3.Connection, message_ids: Sequence[str]) -> None:
    """See `Ledger.notices_sent`."""
    try:
        for message_id in message_ids:
            connection.execute("UPDATE notices SET sent = 1 WHERE message_id = ?", (message_id,))
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error


def unsent(connection: sqlite3.Connection, most: int) -> list[Claim]:
    """See `Ledger.unsent_notices`."""
    try:
        return [
            Claim(receiver=receiver, message_id=message_id, notice=_NOTICE.decode(doc))
            for receiver, message_id, doc in connection.execute(_UNSENT, (most,))
        ]
    except sqlite3.Error as error:
        raise LedgerUnavailable(str(error)) from error


def _claimed(connection: sqlite3.Connection, one: Claim) -> bool:
    notice = one.notice
    values = (
        one.receiver,
        notice.subject,
        one.message_id,
        notice.until_ms,
        msgspec.json.encode(notice),
    )
    return connection.execute(_CLAIM, values).rowcount > 0
