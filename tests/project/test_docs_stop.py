"""How long a stop has to be waited for, as the docs say it, is how long it can take."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.admin.app import STOP_S
from proxy.config.settings import DrainSettings
from proxy.server.lifecycle import BOOK_AT_STOP_S


def test_the_grace_period_of_the_docs_is_what_a_stop_takes_at_most() -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "operating.md"
    text = " ".join(page.read_text(encoding="utf-8").split())
    drain = DrainSettings()
    closing_s = BOOK_AT_STOP_S + STOP_S
    assert f"and {closing_s:g} s to book and close" in text
    stated = re.findall(
        r"(?:TimeoutStopSec=|terminationGracePeriodSeconds: |stop_grace_period: )(\d+)", text
    )
    assert [int(seconds) for seconds in stated] == [drain.delay_s + drain.timeout_s + closing_s] * 3
