"""What all exchanges share: the long-lived parts, made once by `server.py` and passed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from proxy.attribution import EndUsers
from proxy.core.errors import ProxyError, unavailable
from proxy.core.usage import UsageRecord
from proxy.core.via import Via
from proxy.counting import Counter
from proxy.failpoints import Failpoints
from proxy.journal import Journal, JournalUnavailable
from proxy.ledger import Ledger
from proxy.logs import request_line
from proxy.metrics import Metrics
from proxy.quota import Quota
from proxy.recorder import Recorder

DECLINED_S = 600.0   # how long a model's 400 to the question for usage is remembered
DECLINED_MAX = 1024  # and of how many


class Running(Protocol):
    """An exchange, as the watchdog and the drain see it."""

    def watch(self, now_s: float) -> None: ...
    def end_now(self) -> None: ...


class Parts:
    """The shared parts and the few counts that bound them. Lives on the event loop; nothing here is touched from another thread."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        journal: Journal,
        recorder: Recorder,
        counter: Counter,
        quota: Quota,
        metrics: Metrics,
        end_users: EndUsers,
        now_ms: Callable[[], int],
        via: Via,
        failpoints: Failpoints | None,
        sync_always: bool,
    ) -> None:
        self.ledger = ledger
        self.journal = journal
        self.recorder = recorder
        self.counter = counter
        self.quota = quota
        self.metrics = metrics
        self.end_users = end_users
        self.now_ms = now_ms
        self.via = via
        self._failpoints = failpoints
        self.sync_always = sync_always
        self.questions = Questions()
        self.exchanges: set[Running] = set()
        self.draining = False        # the process is stopping: not ready, no new exchanges
        self.draining_exchanges = 0  # answers read on for a client that left
        self.inflight = 0            # requests past authentication
        self.body_bytes = 0          # request bodies held in memory

    def fail(self, name: str) -> None:
        """A named point at which a fault test may kill the process or raise; nothing in production."""
        if self._failpoints is not None:
            self._failpoints(name)

    def tell(self, record: UsageRecord, duration_s: float, first_byte_s: float | None, log_requests: Literal["failed", "all", "none"]) -> None:
        """A record is safe in the journal: the recorder, the metrics and the log hear of it."""
        self.recorder.wake(record)
        self.metrics.record(record)
        self.metrics.timing(record.upstream, record.model_requested, duration_s, first_byte_s, record.output_tokens if record.stream else None)
        request_line(log_requests, record)


class Questions:
    """Which models are not asked for the usage of their streams (`stream_usage: inject`), because their vendor answered 400 to the question."""

    def __init__(self) -> None:
        self._until_s: dict[tuple[str, str | None], float] = {}

    def may_ask(self, upstream: str, model: str | None, now_s: float) -> bool:
        return self._until_s.get((upstream, model), 0.0) <= now_s

    def declined(self, upstream: str, model: str | None, now_s: float) -> None:
        """Remembered for ten minutes, within a bound: model names come from clients."""
        if len(self._until_s) >= DECLINED_MAX:
            self._until_s = {known: until_s for known, until_s in self._until_s.items() if until_s > now_s}
        if len(self._until_s) < DECLINED_MAX:
            self._until_s[upstream, model] = now_s + DECLINED_S


def journal_unavailable(what: str, error: JournalUnavailable, so: str, *, again: bool = True) -> ProxyError:
    """503: the journal cannot take what must be in it first. Not `again`: the request was sent and is charged, and no SDK may send it by itself once more."""
    refusal = unavailable("journal_unavailable", f"The proxy cannot {what} ({error}), so {so}; the operator has to mend it.")
    if not again:
        refusal.headers = (("x-should-retry", "false"),)
    return refusal


class Memory:
    """What one request's body takes from the common bound on bodies held in memory."""

    def __init__(self, parts: Parts, total_max_bytes: int) -> None:
        self._parts = parts
        self._total_max_bytes = total_max_bytes
        self._held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Raises ProxyError 503 if the bound would be passed."""
        if self._parts.body_bytes + size_bytes > self._total_max_bytes:
            raise unavailable("overloaded", "The proxy holds as many request bodies as it may (bodies.total_max). Try again shortly.")
        self._parts.body_bytes += size_bytes
        self._held_bytes += size_bytes

    def release(self) -> None:
        """Gives back what was taken; once, however often it is called."""
        self._parts.body_bytes -= self._held_bytes
        self._held_bytes = 0
