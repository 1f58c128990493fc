"""How long a stop has to be waited for, as the docs say it, is how long it can take."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.admin.app import STOP_S
from proxy.config.settings import DrainSettings
from proxy.ledger.postgresql.worker import END_MAX_S, LEFT_BEHIND_S
from proxy.server.lifecycle import BOOK_AT_STOP_S

CLOSING_S = 15


def test_the_grace_period_of_the_docs_is_what_a_stop_takes_at_most() -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "operating.md"
    text = " ".join(page.read_text(encoding="utf-8").split())
    drain = DrainSettings()
    # Orders of administrators, the ledger's connection and that to other processes may hang.
    hanging_s = STOP_S + 2 * (END_MAX_S + LEFT_BEHIND_S)
    assert CLOSING_S - 2 < BOOK_AT_STOP_S + hanging_s < CLOSING_S
    assert f"and {CLOSING_S} s to book and close" in text
    stated = re.findall(
        r"(?:TimeoutStopSec=|terminationGracePeriodSeconds: |stop_grace_period: )(\d+)", text
    )
    assert [int(seconds) for seconds in stated] == [drain.delay_s + drain.timeout_s + CLOSING_S] * 3
