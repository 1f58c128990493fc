"""Opens the ledger at a start.

While a shared one is away, the start goes by what its data directory knows of keys and teams.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

import msgspec

from proxy.config.settings import Settings
from proxy.core.fault_points import FaultPoint
from proxy.core.managed import Managed
from proxy.ledger import Ledger, LedgerError, LedgerUnavailable, connect, connect_later
from proxy.ledger.sealing_key import read_key
from proxy.server.known_keys import KeptKeys
from proxy.system.backends import masked
from proxy.tenants.known_file import KnownFile, KnownKeys, SnapshotRefused

LOG = logging.getLogger("tollkeeper.server")


class OpenedBook(msgspec.Struct, frozen=True):
    """The ledger, and what a start needs of it.

    salts · None: they cannot be read now
    silent_s · how long ago the ledger was heard, if it is away; None: it is there
    kept · the file of keys, where processes share the ledger
    """

    ledger: Ledger
    rows: Sequence[Managed]
    salts: dict[str, bytes] | None
    silent_s: float | None
    kept: KeptKeys | None

    @property
    def is_there(self) -> bool:
        """Whether the ledger can be used now."""
        return self.silent_s is None


async def open_book(
    settings: Settings, close: contextlib.AsyncExitStack, fail: FaultPoint
) -> OpenedBook:
    """Open the ledger, or go by what the data directory knows while a shared one is away.

    Raises LedgerError, or LedgerUnavailable where the data directory has nothing to start by.
    """
    url, data_dir = settings.ledger.url, settings.data_dir
    key_file = data_dir / settings.ledger.key_file
    is_shared = not url.startswith("sqlite:")
    # Before the ledger is read: what is newer in the file then was taken back in the ledger.
    before = await asyncio.to_thread(_known, settings) if is_shared else "it has one process"
    try:
        ledger = await connect(url, data_dir, key_file, fail=fail)
        close.push_async_callback(ledger.aclose)
        rows, salts = await ledger.tenants(), await ledger.salts()
    except LedgerUnavailable as away:
        if not is_shared:
            raise
        if isinstance(before, str):
            raise LedgerUnavailable(f"{away}. To start without it: {before}") from away
        ledger = await connect_later(url, data_dir, key_file, fail=fail)
        close.push_async_callback(ledger.aclose)
        silent_s = max(0.0, time.time() - before.heard_at_ms / 1000)
        LOG.error(
            "the ledger is away (%s): this process serves the keys and teams that were known %.0f s"
            " ago, and strict limits refuse until it is back",
            away,
            silent_s,
        )
        return OpenedBook(ledger, before.rows, None, silent_s, _kept(settings, None, close))
    found = None if isinstance(before, str) else before
    kept = _kept(settings, found, close) if is_shared else None
    return OpenedBook(ledger, rows, salts, None, kept)


def _known(settings: Settings) -> KnownKeys | str:
    """What the file says, or why a start cannot go by it. Blocks."""
    try:
        return _file(settings).read()
    except (SnapshotRefused, LedgerError) as refused:
        return str(refused)


def _kept(
    settings: Settings, before: KnownKeys | None, close: contextlib.AsyncExitStack
) -> KeptKeys:
    file = _file(settings)
    close.callback(file.close)
    return KeptKeys(file, before)


def _file(settings: Settings) -> KnownFile:
    """The file of keys. Raises LedgerError without the ledger's key, which seals it."""
    key = read_key(settings.data_dir / settings.ledger.key_file)
    # The password may change, and so may the user and what stands behind the question mark.
    name = masked(settings.ledger.url).partition("?")[0].rpartition("@")[2]
    return KnownFile(settings.data_dir, key, name)
