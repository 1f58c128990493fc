"""Keeps the counts whole that processes share: builds them from the book, and hands in the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from proxy.core.dialects.registry import DIALECTS, PASSTHROUGH
from proxy.core.ids import made_at_ms
from proxy.core.records.corrections import is_weaker, late_close, same
from proxy.core.usage import UsageRecord
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.journal import JournalReader
from proxy.ledger import Ledger, LedgerError, LedgerUnavailable
from proxy.ledger.reading import Recent
from proxy.ledger.sharing import InstanceState
from proxy.quota import Book, Owed, Quota, SharedCounts, Standing
from proxy.quota.rebuild import ended, shared_book
from proxy.server.past_use import count_limits
from proxy.server.tasks import Tasks

LOG = logging.getLogger("tollkeeper.server")
AGAIN_S: Final = 0.2  # between two attempts to build the counts or to hand in
WHOLE_AT_START_S: Final = 2.0  # how long a start waits for whole counts, to let strict limits pass
LOOK_S: Final = 1.0  # between two looks at whom strict limits wait for
TELL_S: Final = 5.0
READ_AT_ONCE: Final = 1_000  # closes

# Whose records come a second time, with what was not known when they were first written.
_LATE: Final = {dialect.name for dialect in DIALECTS if dialect.kept_path is not None} | {
    PASSTHROUGH
}


def standing(quota: Quota) -> Standing:
    """How shared counts stand; those of one process are always whole."""
    return Standing() if quota.shared is None else quota.shared.standing


def keep_whole(services: Services, snapshot: Callable[[], Snapshot], tasks: Tasks) -> None:
    """Start what keeps the counts whole, if they are shared."""
    shared = services.quota.shared
    if shared is not None:
        tasks.spawn(_build(shared, services, snapshot), "counts")
        tasks.spawn(_hand_in(shared, services, snapshot), "handing in")
        tasks.spawn(_look_after(shared, services), "counts' watch")


async def start_counting(
    shared: SharedCounts, services: Services, snapshot: Snapshot, store: Quota
) -> None:
    """Have whole counts before the first request, if that is a matter of a moment.

    Others may be silent for long; strict limits then refuse. Raises LedgerError or
    LedgerUnavailable where the book cannot be read.
    """
    await build(shared, services, snapshot)
    handing_in = asyncio.create_task(_hand_in(shared, services, lambda: snapshot))
    try:
        async with asyncio.timeout(WHOLE_AT_START_S):
            await shared.whole()
    except TimeoutError:
        LOG.warning("strict limits refuse until the counts of the shared quota are whole")
        return
    finally:
        handing_in.cancel()
        await asyncio.wait([handing_in])
    if shared.standing.took_s is None:  # another process built them, by its own config
        await count_limits(services, snapshot, quota=store)


async def build(shared: SharedCounts, services: Services, snapshot: Snapshot) -> bool:
    """Build the counts if they are lost. Whether there are counts now.

    Raises LedgerError or LedgerUnavailable where the book cannot be read.
    """
    sharing = services.sharing
    assert sharing is not None, "a shared quota needs a shared ledger"

    async def book() -> Book:
        return await shared_book(
            sharing,
            snapshot.rules,
            services.ledger,
            currency=snapshot.settings.currency,
            zone=snapshot.zone,
            now_ms=services.now_ms(),
        )

    return await shared.rebuild(book)


async def _build(
    shared: SharedCounts, services: Services, snapshot: Callable[[], Snapshot]
) -> None:
    """Builds the counts whenever they are lost, until cancelled."""
    while True:
        await shared.lost()
        built = False
        try:
            built = await build(shared, services, snapshot())
        except (LedgerError, LedgerUnavailable) as error:
            LOG.warning("the counts of limits cannot be restored yet: %s", error)
        if not built:
            await asyncio.sleep(AGAIN_S)


async def _hand_in(
    shared: SharedCounts, services: Services, snapshot: Callable[[], Snapshot]
) -> None:
    """Hands in what ended and is not in the book, whenever it is asked for, until cancelled."""
    started_ms = services.now_ms()
    while True:
        owed = await shared.owed()
        try:
            closes = await asyncio.to_thread(_closes, services.journal.directory, owed)
            booked = await _booked(services.ledger, closes, started_ms)
        except (OSError, LedgerError, LedgerUnavailable) as error:
            LOG.warning("what ended cannot be handed in to the shared quota yet: %s", error)
            await asyncio.sleep(AGAIN_S)
            continue
        now = snapshot()
        found = ended(owed_use(closes, booked), now.rules, now.settings.currency)
        await shared.hand_in(owed, found, services.now_ms())


async def _look_after(shared: SharedCounts, services: Services) -> None:
    """Says for whom strict limits wait; one that has ended in order is not waited for."""
    told: Sequence[str] = ()
    while True:
        waiting = await shared.incomplete()
        await asyncio.sleep(LOOK_S)
        missing = shared.standing.waiting
        if not missing or not set(missing) & set(waiting):
            continue
        try:
            assert services.sharing is not None, "a shared quota needs a shared ledger"
            states = {one.name: one.state for one in await services.sharing.instances()}
        except (LedgerError, LedgerUnavailable):
            continue
        there = {InstanceState.LIVE, InstanceState.LAPSED}
        gone = [name for name in missing if states.get(name) not in there]
        if gone:
            shared.distrust(f"{', '.join(gone)} ended and is in the book")
        elif shared.standing.partial_s > TELL_S and missing != told:
            told = missing
            LOG.error(
                "strict limits refuse until these processes have handed in what they used: %s. A"
                " process that cannot be started again: `tollkeeper instance forget NAME`",
                ", ".join(missing),
            )


def _closes(directory: Path, owed: Owed) -> list[tuple[int, UsageRecord]]:
    """The closes of this process' journal that are owed. Blocks. Raises OSError."""
    reader = JournalReader(directory, owed.after)
    try:
        found: list[tuple[int, UsageRecord]] = []
        while closes := reader.closes(READ_AT_ONCE, owed.upto):
            found += closes
        return found
    finally:
        reader.close()


async def _booked(
    ledger: Ledger, closes: Sequence[tuple[int, UsageRecord]], started_ms: int
) -> dict[str, UsageRecord]:
    """What the book has under the ids of records that may not be the first of their request.

    That is of answers that the vendor keeps, and of an earlier life that was forgotten meanwhile.
    """
    ids = list(
        {
            record.id
            for _, record in closes
            if record.dialect in _LATE or made_at_ms(record.id) < started_ms
        }
    )
    booked: dict[str, UsageRecord] = {}
    for start in range(0, len(ids), ledger.batch_max):
        booked |= await ledger.stored(ids[start : start + ledger.batch_max])
    return booked


def owed_use(
    closes: Sequence[tuple[int, UsageRecord]], booked: Mapping[str, UsageRecord]
) -> list[tuple[str, Recent]]:
    """What the requests used that the counts were built without, by id.

    A record that comes a second time says what its request used in all. Where the first one is not
    among these closes, the counts have it, and the difference is owed.
    """
    first: dict[str, UsageRecord] = {}
    last: dict[str, UsageRecord] = {}
    for _, record in closes:
        before = last.get(record.id)
        first.setdefault(record.id, record)
        if before is None or not is_weaker(record, before):
            last[record.id] = record
    found: list[tuple[str, Recent]] = []
    for id, record in last.items():
        known = booked.get(id)
        if known is None or same(known, first[id]):
            found.append((id, Recent.of(record)))
        elif not same(known, record) and not is_weaker(record, known):
            late = late_close(known, (), record)
            found.append((late.id, Recent.of(late)))
    return found
