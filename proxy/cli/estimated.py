"""Tells which upstreams state too little usage, at the start and in `check`.

It says how many recent requests no vendor counted, and which setting makes them exact.
"""

from __future__ import annotations

from proxy.config.settings import Settings
from proxy.ledger import LedgerError, LedgerUnavailable, connect_reader

DAYS = 30
RECORDS_MAX = 10_000  # only the latest: a start must not wait for a whole month of records
_DAY_MS = 86_400_000

# The sources of a whole answer's counts. Refused and broken-off answers have none to state.
STATED = ("reported",)
NOT_STATED = ("counted", "estimated")


def unstated(settings: Settings, now_ms: int) -> list[str]:
    """A line for each upstream that is only observed and does not state the usage of some answers.

    There are no lines where there is no ledger yet.
    """
    observed = [
        name for name, upstream in settings.upstreams.items() if upstream.stream_usage == "observe"
    ]
    try:
        reader = connect_reader(settings.ledger.url, settings.data_dir)
        counts = reader.sources(now_ms - DAYS * _DAY_MS, RECORDS_MAX)
    except (LedgerError, LedgerUnavailable):
        return []  # the recorder, which opens the ledger to write, says what is wrong with it
    found = []
    for name in observed:
        stated = sum(counts.get((name, source), 0) for source in STATED)
        ours = sum(counts.get((name, source), 0) for source in NOT_STATED)
        if ours:
            share = f"{ours:,} of {stated + ours:,} answers ({100 * ours / (stated + ours):.0f} %)"
            found.append(
                f"upstreams.{name}: {share} of the last {DAYS} days state no usage, so they were "
                "counted or estimated; stream_usage: inject makes whole streams exact"
            )
    return found
