"""Asks the ledger from the event loop: on threads that no other work waits for.

A ledger on a server may leave a question without an answer. Bodies, metrics and orders are worked
on by the event loop's own threads, which such questions would use up. Nor does the process wait
for an answer when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, ParamSpec, TypeVar

from proxy.ledger import LedgerUnavailable
from proxy.system.daemon_threads import DaemonThreads

AT_ONCE: Final = 16  # of a process; one that asks more waits for its turn

_P = ParamSpec("_P")
_T = TypeVar("_T")
_THREADS: Final = DaemonThreads(AT_ONCE, "ledger-question")


async def answer_of(question: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What the question returns or raises."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, lambda: question(*args, **kwargs))


class RepeatedQuestion(Generic[_T]):
    """A question that is asked again and again, of which one at a time is under way."""

    def __init__(self, question: Callable[[], _T]) -> None:
        self._question = question
        self._asking: asyncio.Task[_T] | None = None

    async def answer(self, most_s: float) -> _T:
        """Its answer, or what it raises; LedgerUnavailable if that takes more seconds.

        What comes later is the answer to who asks next.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(answer_of(self._question))
        asking = self._asking
        if not (await asyncio.wait([asking], timeout=most_s))[0]:
            raise LedgerUnavailable(f"it gave no answer in {most_s:g} s")
        self._asking = None
        return asking.result()
