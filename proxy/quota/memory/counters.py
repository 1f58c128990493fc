"""All counters of a store, within bounds, and which of them counts a limit.

Names behind limits come from callers: keys under `auth: forward`, and the values that a limit
counts apart. Counters that say no more than a new one are dropped. Where there are too many values
of a limit, all further ones share one count, so that ever new values get nobody more than the bound
times the limit. No count is dropped for another: that would give back what it has used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from proxy.core.calendar import Calendar
from proxy.core.limits.credit import Credit
from proxy.core.limits.dimensions import MISSING, OTHERS
from proxy.core.limits.limit import Limit
from proxy.quota import VALUES_MAX, QuotaUnavailable
from proxy.quota.memory.budget import Budget
from proxy.quota.memory.counter import LimitCount, When
from proxy.quota.memory.rate import Rate
from proxy.quota.memory.slots import Slots

COUNTERS_MAX: Final = 1_000_000  # about 500 MB
SWEEP: Final = 2  # old counters to look at for each new one; blank ones are dropped
SWEEP_FULL: Final = 1_000  # the same, when there is no room for a new one
SWEEP_SHARED: Final = 20  # the same, for each request whose value shares a count


class Counters:
    """The counters by the count id of their limits.

    `version` changes whenever one is dropped or bound to another limit, or a credit is given
    (`changed`).
    """

    def __init__(
        self,
        calendar: Calendar,
        credits: Mapping[str, Mapping[str, Credit]],
        *,
        counters_max: int = COUNTERS_MAX,
        values_max: int = VALUES_MAX,
    ) -> None:
        self.known: dict[str, LimitCount] = {}
        self.version = 0
        self._calendar = calendar
        self._credits = credits
        self._counters_max = counters_max
        self._values_max = values_max
        self._values: dict[str, int] = {}  # how many values of a limit have counts, by its rule
        self._queue: deque[str] = deque()  # the counters, in the order in which to sweep them
        self._due = 0  # how many to look at in the next sweep

    def changed(self) -> None:
        """Something that counters rely on is another now."""
        self.version += 1

    def of(self, limit: Limit, when: When) -> LimitCount:
        """The limit's counter, made if needed, with the amount and mode that the limit has now.

        Raises QuotaUnavailable where there is no room for another.
        """
        counter = self.known.get(limit.count_id)
        if counter is None and self._shares(limit):
            self._due += SWEEP_SHARED
            limit = limit.of_others()
            counter = self.known.get(limit.count_id)
        if counter is None:
            counter = self._add(limit, when)
        if counter.limit != limit:
            counter.change(limit, when)
            self.changed()
        # An equal one may be another object, and the next look is by identity.
        counter.limit = limit
        return counter

    def seen(self, limit: Limit, when: When) -> LimitCount:
        """The limit's counter, or a blank one that is not kept: a look creates no counter."""
        if limit.count_id not in self.known and self._shares(limit):
            limit = limit.of_others()
        return self.of(limit, when) if limit.count_id in self.known else self._make(limit, when)

    def has_no_room_for(self, limit: Limit) -> bool:
        """Whether the limit has no counter, and can get none."""
        return (
            limit.count_id not in self.known
            and len(self.known) >= self._counters_max
            and limit.value in (None, MISSING)
        )

    def within_bound(self, limits: Iterable[Limit]) -> list[Limit]:
        """The limits by which to count these: further values of one that has too many share one."""
        values = dict(self._values)
        found = []
        for limit in limits:
            if limit.value is not None and limit.count_id not in self.known:
                count = values.get(limit.rule_id, 0)
                if count >= self._values_max and limit.value != MISSING:
                    limit = limit.of_others()
                values[limit.rule_id] = count + 1
            found.append(limit)
        return found

    def sweep(self, when: When) -> None:
        """Look at some of the oldest counters and drop the blank ones.

        A caller must not keep a counter across this, unless a request is running on it.
        """
        due, self._due = self._due, 0
        for _ in range(min(due, len(self._queue))):
            count_id = self._queue.popleft()
            if self.known[count_id].is_blank(when):
                self._drop(count_id)
            else:
                self._queue.append(count_id)

    def forget(self, limits: Iterable[Limit]) -> None:
        """Drop the counters of these limits, and of all values that they count apart."""
        gone = {limit.rule_id for limit in limits}
        for count_id, counter in list(self.known.items()):
            if counter.limit.rule_id in gone:
                self._drop(count_id)
        self._queue = deque(count_id for count_id in self._queue if count_id in self.known)

    def _add(self, limit: Limit, when: When) -> LimitCount:
        if len(self.known) >= self._counters_max and limit.value != OTHERS:
            # For those who come next: this request may have looked at what goes.
            self._due += SWEEP_FULL
            self.sweep(when)
            raise QuotaUnavailable(
                f"there are {self._counters_max} running counts of limits, and there is no room for"
                " more keys until some end"
            )
        counter = self.known[limit.count_id] = self._make(limit, when)
        self._queue.append(limit.count_id)
        self._due += SWEEP
        if limit.value is not None:
            self._values[limit.rule_id] = self._values.get(limit.rule_id, 0) + 1
        return counter

    def _drop(self, count_id: str) -> None:
        limit = self.known.pop(count_id).limit
        self.changed()
        if limit.value is not None:
            self._values[limit.rule_id] -= 1
            if not self._values[limit.rule_id]:
                del self._values[limit.rule_id]

    def _shares(self, limit: Limit) -> bool:
        """Whether this value, which has no counter, is counted with others for lack of room."""
        return limit.value not in (None, MISSING, OTHERS) and (
            self._values.get(limit.rule_id, 0) >= self._values_max
            or len(self.known) >= self._counters_max
        )

    def _make(self, limit: Limit, when: When) -> LimitCount:
        if limit.windowed:
            return Budget(limit, self._calendar, self._credits)
        return Rate(limit, when.steady_ms) if limit.smooth else Slots(limit, when.steady_ms)
