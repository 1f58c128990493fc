"""What all exchanges share to count what no vendor states: tasks, vocabularies, what was learned.

One exchange's own counts are in `exchange_count.py`, what is learned in `calibration.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from random import Random
from typing import Final

from proxy.core.dialects.contract import Call
from proxy.core.tokens.learned import Learned
from proxy.dataplane.counting.calibration import Calibration
from proxy.dataplane.counting.vocabulary import O200K, Vocabularies, family, reasons_unseen

_LOG = logging.getLogger("tollkeeper.counting")

WAITING_MAX: Final = 512  # counts at once; beyond it exchanges are estimated
WAITING_BYTES_MAX: Final = 64 * 2**20  # of texts that wait to be counted; likewise
SAMPLES_FIRST: Final = 200  # answers of a model that are all counted, to learn from
NOTICED_FIRST: Final = 500  # answers of a model that are all learned from by their bytes
NOTICED_EVERY: Final = 8  # and later one in so many
SAMPLES_EVERY: Final = 16  # and later one in so many
KEEP_INTERVAL_S: Final = 60.0  # a kill forgets at most what was learned in this time
# Models whose vocabulary was looked up. Their names come from clients, hence the bound.
FAMILIES_MAX: Final = 4096


class TokenCounter:
    """The shared part: which exchange is counted, the tasks that count, and what is learned."""

    def __init__(
        self, vocabularies: Vocabularies, calibration: Calibration, dice: Random | None = None
    ) -> None:
        # Where the windows of large prompts lie, which nobody outside may know.
        self.dice = Random() if dice is None else dice
        self.vocabularies = vocabularies
        self.calibration = calibration
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting_bytes = 0
        self._turn = 0
        self._noticed = 0
        self._families: dict[str, tuple[str, bool]] = {}

    def family(self, model: str) -> tuple[str, bool]:
        """The vocabulary of this model's text, and whether the vendor bills what it counts."""
        known = self._families.get(model)
        if known is None:
            own = family(model)
            known = (
                O200K.name if own is None else own,
                own is not None and not reasons_unseen(model),
            )
            if len(self._families) < FAMILIES_MAX:
                self._families[model] = known
        return known

    @property
    def crowded(self) -> bool:
        """Whether so much waits to be counted that nothing more is to."""
        return len(self._tasks) >= WAITING_MAX or self._waiting_bytes >= WAITING_BYTES_MAX

    def samples(self, learned: Learned, call: Call) -> bool:
        """Whether an answer that will state its usage is counted as well."""
        if not call.writes_text:
            return False  # it has no text, and always states its usage
        needed = self.calibration.vocabularies
        if not needed or not any(self.vocabularies.ready(name) for name in needed):
            return False  # none was needed yet, and none is loaded for learning alone
        self._turn += 1
        # Of a prompt with images only the answer teaches anything.
        known = (
            learned.output.counted_answers
            if call.media
            else min(learned.input.counted_answers, learned.output.counted_answers)
        )
        return known < SAMPLES_FIRST or self._turn % SAMPLES_EVERY == 0

    def takes_notice(self, learned: Learned) -> bool:
        """Whether an answer that was not counted is learned from.

        Of a model that is well known one in so many teaches as much as all of them.
        """
        if learned.output.answers < NOTICED_FIRST:
            return True
        self._noticed += 1
        return self._noticed % NOTICED_EVERY == 0

    def start(self, work: Coroutine[None, None, None], size_bytes: int = 0) -> asyncio.Task[None]:
        """A task of ours, kept until it is done, that holds about so many bytes."""
        task = asyncio.create_task(work, name="count")
        self._tasks.add(task)
        self._waiting_bytes += size_bytes
        task.add_done_callback(partial(self._ended, size_bytes))
        return task

    async def preload(self) -> None:
        """Loads the vocabularies that were needed before.

        The loop stands still while one is loaded, so it is best before the listeners open.
        """
        for name in list(self.calibration.vocabularies):
            await self.vocabularies.run(name, lambda count: count(""))

    async def run(self) -> None:
        """Keeps what is learned, now and then."""
        while True:
            await asyncio.sleep(KEEP_INTERVAL_S)
            content = self.calibration.unsaved()
            if content is not None:
                await asyncio.to_thread(self.calibration.write, content)

    async def aclose(self) -> None:
        """Ends what still counts, and keeps what was learned."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.vocabularies.close()
        content = self.calibration.unsaved()
        if content is not None:
            self.calibration.write(content)

    def _ended(self, size_bytes: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._waiting_bytes -= size_bytes
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("a count failed; its exchange is estimated", exc_info=error)
