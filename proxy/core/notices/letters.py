"""A notice as a mail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from proxy.core.notices.notice import Notice, plain


def letter(
    notices: Sequence[Notice], message_id: str, sender: str, to: Sequence[str], now_ms: int
) -> EmailMessage:
    """The mail: plain text, marked as made by a program, so that nothing answers it.

    `message_id` is the same however often it is sent, so that mail programs show it once.
    """
    first, *more = notices
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Subject"] = f"[tollkeeper] {plain(first.title)}" + (
        f" And {len(more)} more." if more else ""
    )
    mail["Date"] = format_datetime(datetime.fromtimestamp(now_ms // 1000, UTC))
    mail["Message-ID"] = f"<{message_id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    parts = [
        "\n".join(
            [plain(notice.title), *(f"  {name}: {plain(value)}" for name, value in notice.facts)]
        )
        for notice in notices
    ]
    mail.set_content("\n\n".join(parts) + "\n")
    return mail
