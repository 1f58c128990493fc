"""A process that lives on a journal until it is killed: it says on its standard output what it is
about to write, and what it has written.

`> KIND ID` before an entry, `< KIND ID SEQ` when the call has returned; `booked SEQ` when closes up
to there may go. Arguments: root, failpoint spec, seed, keep_s.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from proxy.journal import Journal, JournalReader
from proxy.journal.options import SEGMENT_BYTES_MIN
from proxy.server.failpoints import Failpoints
from tests.journal.builders import marked, opened, record, voided
from tests.support.journals import journal_options

ENTRIES_MAX = 6000  # a failpoint that was not reached by then is not reached at all


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


async def main(root: Path, spec: str, seed: int, keep_s: float) -> None:
    options = journal_options(
        interval_s=0.001,
        keep_s=keep_s,
        segment_bytes=SEGMENT_BYTES_MIN,
        size_max_bytes=1000 * SEGMENT_BYTES_MIN,
    )
    journal = Journal.claim(root, options, Failpoints(spec))
    running = asyncio.create_task(journal.run())
    reader = JournalReader(journal.directory)
    for exchange, _ in journal.take_recovered().unresolved:
        say(f"> C {exchange.id}")
        seq = journal.close(record(exchange.id, origin="recovery"))
        say(f"< C {exchange.id} {seq}")
    rng = random.Random(seed)
    live: list[str] = []
    for number in range(ENTRIES_MAX):
        write(journal, rng, live, f"{seed}-{number}")
        if number % 25 == 0:
            while reader.closes(64, journal.position):
                pass
            say(f"booked {reader.last_seq}")
            journal.booked(reader.last_seq)
            journal._maintenance.tidy_soon()
            await asyncio.sleep(0.001)
    await journal.aclose()
    await running


def write(journal: Journal, rng: random.Random, live: list[str], fresh: str) -> None:
    if len(live) < 5 or (len(live) < 40 and rng.random() < 0.4):
        live.append(fresh)
        kind, id = "O", fresh
        say(f"> O {id}")
        journal.open(opened(id))
    else:
        kind = rng.choice("MCCV")
        id = rng.choice(live)
        if kind != "M":
            live.remove(id)
        say(f"> {kind} {id}")
        if kind == "M":
            journal.mark(marked(id))
        elif kind == "C":
            journal.close(record(id))
        else:
            journal.void(voided(id))
    say(f"< {kind} {id} {journal.position}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
