"""One mail to a real server: by TLS, with a password, refused now or for good, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from email.message import EmailMessage
from pathlib import Path

import pytest

from proxy.config.settings import SmtpSettings
from proxy.core.notices.letters import letter
from proxy.notify.attempt import Attempt
from proxy.notify.mailing import mail
from tests.core.notices.samples import a_notice
from tests.notify.mail_server import Box, mail_server
from tests.support.tls import certificate, server_context
from tests.support.waiting import guard

TO = ("ops@example.com", "lead@example.com")


def a_letter() -> EmailMessage:
    return letter([a_notice()], "msg_1", "tollkeeper@example.com", TO, 0)


def smtp(port: int, **more: object) -> SmtpSettings:
    given = {"host": "localhost", "port": port, "tls": "none", "from_": "tollkeeper@example.com"}
    return SmtpSettings(**given | more)


async def sent(to: Box, timeout_s: float = 600.0, **more: object) -> Attempt:
    async with guard():
        return await mail(smtp(to.port, **more), a_letter(), timeout_s)


async def test_a_mail_is_handed_over() -> None:
    async with mail_server() as box:
        assert await sent(box) == Attempt("delivered", "taken")
        [envelope] = box.envelopes
        assert envelope.mail_from == "tollkeeper@example.com"
        assert tuple(envelope.rcpt_tos) == TO
        assert b"Subject: [tollkeeper] The limit is near." in (envelope.content or b"")


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_by_tls_with_a_password(
    tls: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, cert = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = server_context(key, cert)
    async with mail_server(
        starttls=context if tls == "starttls" else None,
        implicit=context if tls == "implicit" else None,
        password="CANARY",
    ) as box:
        assert (await sent(box, tls=tls, user="tk", password="CANARY")).result == "delivered"
        assert box.logins == [("tk", "CANARY")] and box.tls[0] is (tls == "starttls")
        wrong = await sent(box, tls=tls, user="tk", password="CANARY2")
        assert wrong.result == "refused" and "CANARY" not in wrong.said
        assert len(box.envelopes) == 1


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(
    tls: str, tmp_path: Path
) -> None:
    context = server_context(*certificate(tmp_path))
    async with mail_server(
        starttls=context if tls == "starttls" else None,
        implicit=context if tls == "implicit" else None,
        password="CANARY",
    ) as box:
        outcome = await sent(box, tls=tls, user="tk", password="CANARY")
        assert outcome.result == "again" and "certificate" in outcome.said
        assert box.logins == [] and box.envelopes == []


async def test_a_server_without_starttls_gets_nothing() -> None:
    """One in the middle can take the offer out of what the server says."""
    async with mail_server() as box:
        outcome = await sent(box, tls="starttls")
        assert outcome.result == "again" and box.envelopes == []


@pytest.mark.parametrize(
    ("answer", "result"),
    [("451 later", "again"), ("421 closing", "again"), ("552 too large", "refused"), ("554 no", "refused")],
)  # fmt: skip
async def test_a_refusal_of_now_and_one_for_good(answer: str, result: str) -> None:
    async with mail_server() as box:
        box.said = [answer]
        outcome = await sent(box)
        assert outcome.result == result and f"said {answer.replace(' ', ': ', 1)}" in outcome.said


async def test_addresses_that_are_not_taken() -> None:
    async with mail_server() as box:
        box.refused = {TO[0]: "550 unknown"}
        partly = await sent(box)
        assert partly.result == "delivered" and partly.partly and TO[0] in partly.said
        box.refused[TO[1]] = "550 unknown"
        assert (await sent(box)).result == "refused"
        box.refused[TO[1]] = "450 greylisted"
        assert (await sent(box)).result == "again", "one of them may be taken later"
        assert len(box.envelopes) == 1


async def test_a_server_that_hangs_or_is_gone_is_left() -> None:
    ended = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"220 mail.test ESMTP\r\n")
            await ended.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    outcome = await mail(smtp(port), a_letter(), 0.1)
    assert outcome.result == "again" and "did not answer" in outcome.said
    ended.set()
    server.close()
    assert (await mail(smtp(port), a_letter(), 600)).result == "again"


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x16\x03\x01",
        b"554 go away\r\n",
        b"220 " + b"x" * 100_000,
    ],
)
async def test_what_is_no_mail_server(greeting: bytes) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with guard():
        outcome = await mail(smtp(server.sockets[0].getsockname()[1]), a_letter(), 600)
    server.close()
    assert outcome.result in ("again", "refused")
