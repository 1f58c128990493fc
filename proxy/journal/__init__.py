"""The journal: a local append-only log that survives `kill -9`. What was admitted, how far it may
have been delivered, what it used.

    data_dir/journal/w0/         one writer; `lock` is flock'ed for the life of the process that writes here
        lock
        0000000001.seg.gz        done: every close in it and before it is booked, nothing that began
        there is open; kept for `journal.keep`
        0000000002.seg           plain: preallocated with zeros, frames from its start
        0000000003.seg           the current one, the highest number in which anything stands
        0000000004.seg           spare: all zeros, ready

A segment is a run of frames (`frames.py`), each an entry: `O` an opening, `M` a mark, `C` a close
(the whole record), `V` a void; the first frame
of a segment is `S`, whose seq is that of the last entry before it. Entries are numbered from 1
without gaps but for writes that a failing
disk could not take back. Their payloads are the structs of `core/entries.py` and `core/usage.py` as
JSON.

An exchange is open from its `O` to its `C` or `V`. The entries of a long one are written again into
a newer segment, so an `O` can occur twice. After a crash, `Journal.claim` reads all plain segments
and hands out what is open with its
marks; whoever settles that writes its `C` into the same journal, so that it is settled once.
`JournalReader` gives the closes to whoever books them.

The parts, bottom up: frames, codec, disk, segments (one file); appender (the writing), syncing;
open_exchanges (what is open), retention (what is written
out), maintenance (the two loops); survey (what stands in a directory), recovery (what a dead process
left), reader; claims (locks); writer (`Journal`,
the only part with callers), options; status.
"""

from proxy.journal.lock import claimable
from proxy.journal.options import JournalOptions
from proxy.journal.reader import JournalReader
from proxy.journal.recovery import Recovered, recover
from proxy.journal.status import JournalFigures, inspect
from proxy.journal.survey import Skipped
from proxy.journal.writer import Journal, JournalUnavailable

__all__ = [
    "Journal",
    "JournalFigures",
    "JournalOptions",
    "JournalReader",
    "JournalUnavailable",
    "Recovered",
    "Skipped",
    "claimable",
    "inspect",
    "recover",
]
