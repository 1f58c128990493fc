"""What was used before: by requests that a dead process left, and by limits that are new."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from proxy.core.dialects.registry import DIALECTS, PASSTHROUGH
from proxy.core.ids import made_at_ms
from proxy.core.pricing.served_models import ServedModels
from proxy.dataplane.owners import OWNERS_MAX, Owners
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import BATCH_MAX, LedgerError, LedgerUnavailable, Reader
from proxy.ledger.reading import Recent
from proxy.quota import Quota, QuotaUnavailable
from proxy.quota.rebuild import restore
from proxy.server.adopting import Adopting
from proxy.server.left_holds import booked_use
from proxy.server.tasks import Tasks

LOG = logging.getLogger("tollkeeper.server")

KEPT_LOOKED_AT_MAX = 200_000  # of the latest records, for the ids of answers that vendors keep
# so far back objects at vendors are looked for: about a second of reading
OWNED_RECORDS_MAX = 1_000_000
HELD_AT_ONCE = 64  # ids that the ledger is asked for
SETTLE_AGAIN_S = 0.5  # until the book is looked at again for what was held before the start
BOOK_AT_START_S = 2.0  # how long a start waits for that, and for its own journal


async def book_what_was_left(services: Services, adopting: Adopting, tasks: Tasks) -> None:
    """Books the journals of dead processes, because limits count what is in the book.

    A slow ledger keeps nobody from serving.
    """
    adopted = tasks.spawn(adopting.at_start(), "adoption")
    booked = await services.recorder.drain(BOOK_AT_START_S)
    await asyncio.wait({adopted}, timeout=BOOK_AT_START_S)
    if not booked or not adopted.done():
        LOG.warning(
            "the ledger is slow: limits will count the earlier requests that it has not booked yet"
            " from the next start on"
        )


async def count_limits(
    services: Services,
    snapshot: Snapshot,
    unbooked: Sequence[Recent] = (),
    quota: Quota | None = None,
) -> None:
    """Counts the use of limits that have no count yet; `unbooked` is not in the book.

    `quota`: the store itself, where another stands before it. Raises LedgerError or
    LedgerUnavailable where the book cannot be read.
    """
    await restore(
        services.quota if quota is None else quota,
        snapshot.rules,
        services.ledger,
        services.reader,
        unbooked,
        currency=snapshot.settings.currency,
        zone=snapshot.zone,
        now_ms=services.now_ms(),
    )


async def settle_what_was_held(services: Services, started_ms: int) -> None:
    """Ends what an earlier life of this process still holds in a shared quota.

    Of each request that reached its vendor there is a record, once the journal is booked up to the
    start. A request without one was never sent.
    """
    held: list[str] | None = None
    await services.recorder.recovered.wait()  # what was sent has its close, or gets none
    upto_seq, writer = services.journal.position, services.journal.writer
    while held is None or held:
        try:
            if held is None:
                left = await services.quota.left()
                held = [id for id in left if made_at_ms(id) < started_ms]
            elif await services.ledger.position(writer) >= upto_seq:
                some, held = held[:HELD_AT_ONCE], held[HELD_AT_ONCE:]
                booked = await services.ledger.stored(some)
                for id in some:
                    used = await booked_use(services.reader, booked.get(id))
                    services.quota.settle_left(id, used)
                continue
        except QuotaUnavailable:
            pass  # once it is back
        except (LedgerError, LedgerUnavailable) as error:
            LOG.warning("what was held before this start cannot be settled yet: %s", error)
        if held is None or held:
            await asyncio.sleep(SETTLE_AGAIN_S)


async def know_kept_answers(services: Services) -> None:
    """Whose answers the vendors keep, as the book says, and whose use is still to be told.

    That is of answers that were not whole yet, and of batches.
    """
    dialects = [dialect.name for dialect in DIALECTS if dialect.kept_path is not None]
    rows = await asyncio.to_thread(services.reader.answers, dialects, KEPT_LOOKED_AT_MAX)
    services.kept_answers.restore(row for row in rows if row.dialect != PASSTHROUGH)
    waiting = [row.waiting for row in rows if row.waiting is not None][-BATCH_MAX:]
    records = (await services.ledger.stored(waiting)).values()
    services.batches.begun(record for record in records if record.dialect == PASSTHROUGH)
    services.kept_answers.wait(record for record in records if record.dialect != PASSTHROUGH)


def owners(reader: Reader) -> Owners:
    """Who made what at the vendors, as the book says. Blocks.

    Raises LedgerError or LedgerUnavailable where the book cannot be read.
    """
    known = Owners()
    for upstream, team, key_id, ids in reader.made_objects(
        PASSTHROUGH, OWNED_RECORDS_MAX, OWNERS_MAX
    ):
        known.learn(upstream, team, key_id, ids.split())
    return known


def served_models(snapshot: Snapshot, reader: Reader) -> ServedModels:
    """What the book says was served, by this config's prices. Blocks.

    Raises LedgerError or LedgerUnavailable where the book cannot be read.
    """
    return ServedModels(snapshot.prices, reader.served_models())
