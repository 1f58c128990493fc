"""Writes into the audit how the config in effect differs from the one before it.

What was in effect is kept in the data directory, so that a start tells what changed while nothing
ran. If the audit cannot be written now, the config holds all the same, and the next reload or start
tells the difference.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from proxy.config.differences import Difference, differences, fingerprint
from proxy.config.loader import Loaded
from proxy.config.settings import Settings
from proxy.core.managed import Audit, TenantChange
from proxy.dataplane.services import Services
from proxy.ledger import Ledger, LedgerError, LedgerUnavailable
from proxy.system.files import sync_directory
from proxy.tenants.orders import By

FILE = "config.seen"  # in the data directory
TOLD_MAX = 200  # settings that one entry of the audit names
KIND = "config"
AT_START = ("file", "start")  # who changed it, as the audit says, and from where
BY_SIGNAL = ("file", "SIGHUP")

_LOG = logging.getLogger("tollkeeper.server")


async def begin_history(loaded: Loaded, services: Services) -> ConfigHistory:
    """The history of this start, which tells what changed since the last process ran."""
    settings = loaded.settings
    key = (settings.data_dir / settings.ledger.key_file).read_bytes()
    history = ConfigHistory(settings.data_dir, key, services.ledger, services.now_ms)
    await history.begin(settings, name_of(loaded))
    return history


def name_of(loaded: Loaded) -> str:
    """What the audit calls a config."""
    return "no file" if loaded.path is None else loaded.path.name


class ConfigHistory:
    """Knows the config that the audit was told of last. `key` is the ledger's.

    One reload or start uses it at a time.
    """

    def __init__(
        self, data_dir: Path, key: bytes, ledger: Ledger, now_ms: Callable[[], int]
    ) -> None:
        self._path = data_dir / FILE
        self._key = key
        self._ledger = ledger
        self._now_ms = now_ms
        self._told: Mapping[str, Any] | None = None

    async def begin(self, settings: Settings, name: str) -> None:
        """Tells what changed since the last process ran, if one did."""
        self._told = await asyncio.to_thread(self._read)
        actor, origin = AT_START
        now = await asyncio.to_thread(self.seen, settings)
        await self.tell(now, name, By(actor=actor, origin=origin, at_ms=self._now_ms()), "start")

    def seen(self, settings: Settings) -> Mapping[str, Any]:
        """What is compared of a config. It takes long for a large one; call it in a thread."""
        return fingerprint(settings, self._key)

    def compared(self, now: Mapping[str, Any]) -> list[Difference]:
        """What differs from the config that the audit was told of last. Call it in a thread."""
        return [] if self._told is None else list(differences(self._told, now))

    async def tell(
        self, now: Mapping[str, Any], name: str, by: By, action: str
    ) -> list[Difference]:
        """Writes the difference to the config `now`, which is in effect. Returns it."""
        found = await asyncio.to_thread(self.compared, now)
        if found:
            try:
                await self._ledger.change(TenantChange((), (_entry(found, name, by, action),)))
            except (LedgerError, LedgerUnavailable) as error:
                _LOG.warning(
                    "the audit cannot be told now what changed in the config (%s); the next reload"
                    " or start tells it",
                    error,
                )
                return found
            _LOG.info(
                "%s changed the config: %s",
                by.actor,
                ", ".join(one.path for one in found[:20]) + ", …" * (len(found) > 20),
            )
        if found or self._told is None:
            try:
                await asyncio.to_thread(self._write, now)
            except OSError as error:
                _LOG.warning("%s cannot be written: %s", self._path, error.strerror or error)
        self._told = now
        return found

    def _read(self) -> Mapping[str, Any] | None:
        """The config of the last process; None without one that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Any])
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            _LOG.warning(
                "%s cannot be read (%s): the audit does not say what changed in the config since"
                " the last run",
                self._path,
                error,
            )
            return None

    def _write(self, now: Mapping[str, Any]) -> None:
        beside = self._path.with_name(f"{FILE}.new")
        beside.touch(0o600)
        with beside.open("wb") as file:
            file.write(msgspec.json.encode(now))
            file.flush()
            os.fsync(file.fileno())
        beside.rename(self._path)
        sync_directory(self._path.parent)


def _entry(found: list[Difference], name: str, by: By, action: str) -> Audit:
    before = {one.path: one.before for one in found[:TOLD_MAX] if one.before is not None}
    after = {one.path: one.after for one in found[:TOLD_MAX]}
    if len(found) > TOLD_MAX:
        after["…"] = f"{len(found) - TOLD_MAX} more settings"
    return Audit(
        at_ms=by.at_ms,
        actor=by.actor,
        origin=by.origin,
        action=f"{KIND}.{action}",
        kind=KIND,
        name=name,
        before=msgspec.json.encode(before).decode(),
        after=msgspec.json.encode(after).decode(),
        reason=by.reason,
    )
