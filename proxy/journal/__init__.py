"""The journal is a local append-only log that survives `kill -9`.

It says what was admitted, how far it may have been delivered, and what it used.

    data_dir/journal/w0/    one writer; the process that writes here holds a flock on `lock`
        lock
        0000000001.seg.gz   done: all its closes are booked, and no exchange that began in it or
                            before it is open; kept for `journal.keep`
        0000000002.seg      plain: preallocated with zeros, frames from its start
        0000000003.seg      the current one, the highest number in which anything stands
        0000000004.seg      spare: all zeros, ready

A segment is a run of frames (`frames.py`), each one entry: `O` an opening, `M` a mark, `C` a close
(the whole record), `V` a void. Its first frame is `S`, with the seq of the last entry before it.
Entries are numbered from 1; the only gaps are writes that a failing disk could not take back. Their
payloads are the structs of `core/entries.py` and `core/usage.py` as JSON.

An exchange is open from its `O` to its `C` or `V`. The journal writes the entries of a long one
again into a newer segment, so an `O` can occur twice. After a crash, `Journal.claim` reads all
plain segments and returns the open exchanges with their marks. Their `C` goes into the same
journal, so that each is settled once. `JournalReader` reads the closes for booking.

The parts, bottom up:

- frames, codec, disk, segments: the bytes of one file.
- appender, syncing: writing, and making durable.
- open_exchanges, retention: what is open, and which segments are written out.
- maintenance: the loops beside the writing.
- recovery: what a dead process left.
- unbooked: the closes that are still in memory.
- reader, lock, shared_locks, files_in_use, options, status.
- writer: `Journal`, the only part with callers.
"""

from proxy.journal.lock import claimable
from proxy.journal.options import JournalOptions
from proxy.journal.reader import JournalReader
from proxy.journal.recovery import Recovered, Skipped, recover
from proxy.journal.shared_locks import Doubt, doubt
from proxy.journal.status import JournalFigures, all_figures, inspect
from proxy.journal.writer import Journal, JournalUnavailable

__all__ = [
    "Doubt",
    "Journal",
    "JournalFigures",
    "JournalOptions",
    "JournalReader",
    "JournalUnavailable",
    "Recovered",
    "Skipped",
    "all_figures",
    "claimable",
    "doubt",
    "inspect",
    "recover",
]
