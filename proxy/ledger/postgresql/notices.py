"""What receivers were told, in PostgreSQL: each of each subject once, by however many processes.

These rows are no part of the book: they are changed and go when their time is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.core.notices.notice import Claim, Notice
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.digests import digest
from proxy.ledger.postgresql.texts import clean

_CLAIM: Final = (
    "INSERT INTO notices (digest, receiver, subject, message_id, until_ms, sent, doc) "
    "VALUES (%s, %s, %s, %s, %s, 0, %s) ON CONFLICT (digest) DO NOTHING RETURNING 1"
)
_OLD: Final = "DELETE FROM notices WHERE until_ms < %s AND sent = 1"
_SENT: Final = "UPDATE notices SET sent = 1 WHERE message_id = ANY (%s)"
_UNSENT: Final = (
    "SELECT receiver, message_id, doc FROM notices WHERE sent = 0 "
    "ORDER BY message_id, subject LIMIT %s"
)
_NOTICE: Final = msgspec.json.Decoder(Notice)


def claim(connection: Connection, claims: Sequence[Claim], now_ms: int) -> list[Claim]:
    """See `Ledger.claim_notices`. The transaction holds the lock of orders."""
    connection.execute(_OLD, (now_ms,))
    return [one for one in claims if _claimed(connection, one)]


def sent(connection: Connection, message_ids: Sequence[str]) -> None:
    """See `Ledger.notices_sent`."""
    connection.execute(_SENT, ([clean(id) for id in message_ids],))


def unsent(connection: Connection, most: int) -> list[Claim]:
    """See `Ledger.unsent_notices`."""
    return [
        Claim(receiver=receiver, message_id=message_id, notice=_NOTICE.decode(doc))
        for receiver, message_id, doc in connection.execute(_UNSENT, (most,))
    ]


def _claimed(connection: Connection, one: Claim) -> bool:
    notice = one.notice
    values = (
        digest(one.receiver, notice.subject),
        clean(one.receiver),
        clean(notice.subject),
        clean(one.message_id),
        notice.until_ms,
        msgspec.json.encode(notice),
    )
    return connection.execute(_CLAIM, values).fetchone() is not None
