"""A real mail server on loopback (aiosmtpd): what it took, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Box:
    """The server's mails, and its answers to the two commands that may refuse them."""

    envelopes: list[Envelope] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    tls: list[bool] = field(default_factory=list)  # of each mail: whether it came by TLS
    refused: dict[str, str] = field(default_factory=dict)  # by address
    said: list[str] = field(default_factory=list)  # answers to the next mails
    port: int = 0

    async def handle_RCPT(
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.said and not self.said[0].startswith("2"):
            return self.said.pop(0)
        self.envelopes.append(envelope)
        self.tls.append(session.ssl is not None)
        return self.said.pop(0) if self.said else "250 taken"


@contextlib.asynccontextmanager
async def mail_server(
    starttls: ssl.SSLContext | None = None,
    implicit: ssl.SSLContext | None = None,
    password: str | None = None,
) -> AsyncIterator[Box]:
    """A running server; with a password it takes mail from those alone that say it, by TLS."""
    box = Box()

    def login(
        _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        box.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password.decode() == password, handled=False)

    def make() -> SMTP:
        with warnings.catch_warnings():
            # It does not see that the connection is TLS's from its first byte.
            warnings.filterwarnings("ignore", message="Requiring AUTH while not requiring TLS")
            return SMTP(
                box,
                hostname="mail.test",
                tls_context=starttls,
                auth_required=password is not None,
                auth_require_tls=password is not None and implicit is None,
                authenticator=login if password is not None else None,
                loop=asyncio.get_running_loop(),
            )

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=implicit)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
