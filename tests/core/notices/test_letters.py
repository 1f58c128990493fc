"""A notice as a mail: its header fields are ours, whatever a name holds."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

from proxy.core.notices.letters import letter
from tests.core.notices.samples import HOSTILE, a_notice


def sent(mail: EmailMessage) -> EmailMessage:
    """The mail as its reader parses it."""
    return email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)


def test_a_mail_says_it_all_in_plain_text() -> None:
    mail = sent(
        letter([a_notice()], "msg_1", "tk@example.com", ["a@b.c", "d@e.f"], 1_796_083_200_000)
    )
    assert mail["Subject"] == "[tollkeeper] The limit is near."
    assert (mail["From"], mail["To"]) == ("tk@example.com", "a@b.c, d@e.f")
    assert mail["Message-ID"] == "<msg_1@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"] == "Tue, 01 Dec 2026 00:00:00 +0000"
    assert mail.get_content_type() == "text/plain"
    assert (
        mail.get_content() == "The limit is near.\n  Used: 4 of 5\n  Resets: 2026-12-01 00:00 UTC\n"
    )


def test_a_name_adds_no_field_and_no_receiver() -> None:
    mail = sent(
        letter([a_notice(HOSTILE, facts=((HOSTILE, HOSTILE),))], "m", "tk@x.y", ["a@b.c"], 0)
    )
    assert set(mail.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type",
        "Content-Transfer-Encoding", "MIME-Version",
    }  # fmt: skip
    assert "汉字" in mail["Subject"] and "汉字" in mail.get_content()


def test_several_notices_are_one_mail() -> None:
    mail = sent(letter([a_notice("One."), a_notice("Two.")], "m", "tk@x.y", ["a@b.c"], 0))
    assert mail["Subject"] == "[tollkeeper] One. And 1 more."
    assert "One." in mail.get_content() and "Two." in mail.get_content()
