"""Closed months over the admin API: `GET` and `POST /admin/v1/statements`, `GET …/{number}`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from proxy.accounting.statements.closing import CloseOrder, Closer, CloseRefused, Who, behind
from proxy.admin.endpoint import AdminEndpoint, AdminRequest, read
from proxy.config.settings import Settings
from proxy.core.errors import ProxyError, invalid_request, unavailable
from proxy.core.statements.closing import ClosedStatement, Closing
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.journal import all_figures
from proxy.ledger import LedgerError, LedgerUnavailable, Reader
from proxy.ledger.sharing import Sharing
from proxy.ledger.signing import FILE

STATEMENTS_PATH = "/admin/v1/statements"
STATEMENT_PATH = "/admin/v1/statements/{number}"

_LOG = logging.getLogger("tollkeeper.admin")


class ClosedMonths(msgspec.Struct, frozen=True):
    """The months that are closed, in the order of closing."""

    statements: list[Closing]


class KeptStatement(msgspec.Struct, frozen=True):
    """A closed statement: `document` is the text that is signed, the rest is hex digits."""

    closing: Closing
    document: str
    public_key: str
    signature: str

    @classmethod
    def of(cls, closed: ClosedStatement) -> KeptStatement:
        """A statement of the ledger."""
        return cls(
            closed.closing,
            closed.document.decode(),
            closed.public_key.hex(),
            closed.signature.hex(),
        )

    def closed(self) -> ClosedStatement:
        """The same as the ledger has it. Raises ValueError for what is no hex."""
        return ClosedStatement(
            closing=self.closing,
            document=self.document.encode(),
            public_key=bytes.fromhex(self.public_key),
            signature=bytes.fromhex(self.signature),
        )


def statement_routes(
    services: Services, snapshot: Callable[[], Snapshot], key_file: Path
) -> Sequence[AdminEndpoint]:
    """The routes of closed months."""
    desk = _StatementDesk(services, snapshot, key_file)
    return (
        AdminEndpoint(
            "GET",
            STATEMENTS_PATH,
            "List the months that are closed.",
            desk.listed,
            returns=ClosedMonths,
            errors=(503,),
        ),
        AdminEndpoint(
            "GET",
            STATEMENT_PATH,
            "Show a closed statement with its signature.",
            desk.one,
            returns=KeptStatement,
            errors=(404, 503),
        ),
        AdminEndpoint(
            "POST",
            STATEMENTS_PATH,
            "Close a month.",
            desk.close,
            body=CloseOrder,
            returns=KeptStatement,
            errors=(409, 503),
        ),
    )


class _StatementDesk:
    """Shows closed months, and closes them one after the other."""

    def __init__(
        self, services: Services, snapshot: Callable[[], Snapshot], key_file: Path
    ) -> None:
        self._services = services
        self._snapshot = snapshot
        self._signing_key = key_file.with_name(FILE)
        self._turn = asyncio.Lock()

    async def listed(self, _ask: AdminRequest) -> ClosedMonths:
        return ClosedMonths(await read(self._services.reader.closings))

    async def one(self, ask: AdminRequest) -> KeptStatement:
        number = ask.path["number"]
        found = None
        if number.isascii() and number.isdecimal() and len(number) < 10:
            found = await read(lambda: self._services.reader.closed_statement(int(number)))
        if found is None:
            message = f"There is no statement {number[:80]!r}; GET {STATEMENTS_PATH} lists all."
            raise ProxyError(404, "invalid_request_error", "no_statement", message, param="number")
        return KeptStatement.of(found)

    async def close(self, ask: AdminRequest) -> KeptStatement:
        who = Who(ask.asker.name, ask.origin, self._services.now_ms())
        async with self._turn:
            try:
                closed = await self._closer(who.at_ms).close(ask.body, who)
            except CloseRefused as error:
                message = f"The month is not closed: {error}."
                raise ProxyError(409, "invalid_request_error", "not_closed", message) from error
            except LedgerError as error:
                raise invalid_request(
                    f"The month is not closed: {str(error).rstrip('.')}."
                ) from error
            except LedgerUnavailable as error:
                message = f"The month cannot be closed now ({error}); look whether it is, and try."
                raise unavailable("ledger_unavailable", message) from error
        closing = closed.closing
        _LOG.info(
            "%s closed %s of %s as statement %d: %s",
            *(who.actor, closing.month, closing.team or "all teams", closing.number),
            closing.digest,
        )
        return KeptStatement.of(closed)

    def _closer(self, now_ms: int) -> Closer:
        services, now = self._services, self._snapshot()

        async def unbooked(before_ms: int) -> list[str]:
            began_ms = services.begun_ms()
            found = await what_is_behind(
                services.reader, services.sharing, now.settings, before_ms, now_ms
            )
            if began_ms is not None and began_ms < before_ms:
                found.append("requests that began then are not sent to their upstream yet")
            return found

        return Closer(services.reader, services.ledger, now.zone, self._signing_key, unbooked)


async def what_is_behind(
    reader: Reader, sharing: Sharing | None, settings: Settings, before_ms: int, now_ms: int
) -> list[str]:
    """What of the requests that began before a time may not be in the ledger yet.

    Raises LedgerError and LedgerUnavailable.
    """
    try:
        status = await asyncio.to_thread(reader.status)
        journals = await asyncio.to_thread(
            all_figures, settings.data_dir / "journal", status.writers
        )
    except OSError as error:
        return [f"the journal in {settings.data_dir} cannot be read: {error}"]
    instances = [] if sharing is None else await sharing.instances()
    longest_ms = int(settings.timeouts.total_s * 1000)
    return behind(journals, instances, before_ms, now_ms, longest_ms)
