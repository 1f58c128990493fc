"""The long-lived parts that all exchanges share. `server/` makes them once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from time import monotonic
from typing import Literal, Protocol

from proxy.accounting.end_users import EndUsers
from proxy.accounting.recorder import Recorder
from proxy.core.dialects.contract import Meter
from proxy.core.dialects.registry import PASSTHROUGH
from proxy.core.entries import Opened
from proxy.core.errors import ProxyError, unavailable
from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.http.via import Via
from proxy.core.pricing.amounts import Pricing
from proxy.core.pricing.served_models import ServedModels
from proxy.core.usage import LATER, Outcome, UsageRecord
from proxy.dataplane.batches import Batches, late_batch
from proxy.dataplane.counting.counter import TokenCounter
from proxy.dataplane.kept_answers import KeptAnswers
from proxy.dataplane.large_bodies import LargeBodies
from proxy.dataplane.owners import ITEMS_MAX, Owners
from proxy.dataplane.request_log import request_line
from proxy.dataplane.upstream.pools import Pools
from proxy.journal import Journal
from proxy.ledger import Ledger, Reader
from proxy.ledger.sharing import Sharing
from proxy.metrics.collector import Metrics
from proxy.quota import Quota
from proxy.tenants.directory import Directory
from proxy.tenants.ring import KeyRing

PLACES_SHARE = 4  # of the places of a kind, one key takes at most one part in so many
KEY_SHARE = 4  # one key holds at most this part of the bound on bodies
COPIES = 3  # of one body at once: as it came, decoded to be read, and with the question for usage
UNSURE_S = 2.0  # of silence; what is written elsewhere is heard of within one
DECLINED_S = 600.0  # how long a model's 400 to the question for usage is remembered
DECLINED_MAX = 1024  # and of how many
DECLINED_KEYS = 3  # so many keys that were refused are no single caller's doing


class RunningExchange(Protocol):
    """An exchange, as the watchdog and the drain see it."""

    @property
    def opened(self) -> Opened: ...
    def watch(self, now_s: float) -> None: ...
    def stop(self, refusal: ProxyError) -> None: ...
    def end_now(self) -> None: ...


class RequestUnderway(Protocol):
    """A request past authentication; `exchange` is None until it is admitted."""

    @property
    def started_at_ms(self) -> int: ...
    @property
    def exchange(self) -> WithRecord | None: ...


class WithRecord(Protocol):
    """An exchange that says whether it has its record."""

    @property
    def booked(self) -> bool: ...


class Services:
    """The shared parts, and the few counts that bound them.

    They live on the event loop; no other thread touches them.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        reader: Reader,
        journal: Journal,
        recorder: Recorder,
        counter: TokenCounter,
        quota: Quota,
        directory: Directory,
        pools: Pools,
        served: ServedModels,
        metrics: Metrics,
        end_users: EndUsers,
        now_ms: Callable[[], int],
        via: Via,
        fail: FaultPoint,
        sharing: Sharing | None = None,
        sync_always: bool,
    ) -> None:
        self.ledger = ledger
        self.reader = reader
        self.sharing = sharing  # with other processes that use the ledger; None: there are none
        self.journal = journal
        self.recorder = recorder
        self.counter = counter
        self.quota = quota
        self.pools = pools
        self.directory = directory
        self.keys = KeyRing(directory)
        self.served = served
        self.owners = Owners()  # of what requests have made at vendors
        self.metrics = metrics
        self.end_users = end_users
        self.now_ms = now_ms
        self.via = via
        # at each named point of a fault test; None: there is none, and no call is made for it
        self.fail = None if fail is no_fault else fail
        self.sync_always = sync_always
        self.usage_refusals = UsageRefusals()
        self.kept_answers = KeptAnswers()
        self.items = Owners(ITEMS_MAX, repeated=True)  # single items of such answers
        self.batches = Batches()
        self.exchanges: set[RunningExchange] = set()  # with an open journal entry
        self.waiting: set[RunningExchange] = set()  # for a connection
        self.asking: set[RequestUnderway] = (
            set()
        )  # from the authentication to the end of the answer
        # When other processes were last heard of, by `monotonic`; None: there are none.
        self.heard_s: float | None = None
        # Of keys and teams: in effect here, and in the shared ledger as it was seen last.
        self.keys_versions = (0, 0)
        self.draining = False  # the process is stopping: not ready, no new exchanges
        self.drains = KeyPlaces()  # answers read on for a client that left
        self.uploads = KeyPlaces()  # requests whose body is sent on while it comes
        self.arriving = Present()  # requests past authentication whose body is not here yet
        self.inflight = Present()  # requests past authentication and with their body
        self.bodies = HeldBodies()
        self.large_bodies = LargeBodies()

    def heard(self, now_s: float) -> None:
        """All that other processes have written up to now, by `monotonic`, is known here."""
        self.heard_s = now_s

    def saw_versions(self, known: int, there: int) -> None:
        """Of keys and teams this one is in effect, and that one was seen in the shared ledger."""
        self.keys_versions = (known, there)

    @property
    def silent_s(self) -> float:
        """How long ago all that others have written was known here; 0: there are no others."""
        return 0.0 if self.heard_s is None else max(0.0, monotonic() - self.heard_s)

    def begun_ms(self) -> int | None:
        """When the oldest request began that the journal does not have yet; None: it has all."""
        journaled: Set[object] = self.exchanges
        return min(
            (
                one.started_at_ms
                for one in self.asking
                if one.exchange is None or not (one.exchange.booked or one.exchange in journaled)
            ),
            default=None,
        )

    def refuse_if_unsure(self) -> None:
        """503 for a key that is not known here, while it may have just been made elsewhere."""
        if self.heard_s is not None and monotonic() - self.heard_s > UNSURE_S:
            raise unavailable(
                "keys_unavailable",
                "The API key is not known here, and the proxy cannot ask now whether it is new."
                " Nothing was sent; try again.",
            )

    def stop_taking(self) -> None:
        """No new exchange is taken: the process stops."""
        self.draining = True

    def use(self, directory: Directory, keys: KeyRing, served: ServedModels) -> None:
        """What a reload replaces: who may call, and what is known of priced models."""
        self.admit(directory, keys)
        self.served = served

    def admit(self, directory: Directory, keys: KeyRing) -> None:
        """Who may call from now on."""
        self.directory = directory
        self.keys = keys

    def know(self, served: ServedModels, owners: Owners) -> None:
        """What the ledger told at the start: models in use, and whose the vendors' objects are."""
        self.served = served
        self.owners = owners

    def stop_running(self, key_ids: Iterable[str] | None = None) -> int:
        """Ends what runs for keys that are not let through any more; how many that was.

        `key_ids`: only for these; None: for any.
        """
        chosen, now_ms = None if key_ids is None else set(key_ids), self.now_ms()
        return self._stop(
            lambda one: (
                self.keys.refusal_of(one.key_id, now_ms)
                if chosen is None or one.key_id in chosen
                else None
            )
        )

    def stop_by_order(self, ordered_ms: Mapping[str, int]) -> int:
        """Ends what runs for keys that were closed at these times; how many that was.

        Of a key that is let through again, only what had begun by then is ended.
        """
        now_ms, keys = self.now_ms(), self.keys

        def refusal(one: Opened) -> ProxyError | None:
            at_ms = ordered_ms.get(one.key_id)
            if at_ms is None:
                return None
            closed = keys.refusal_of(one.key_id, now_ms)
            return closed or (keys.was_closed(one.key_id) if one.started_at_ms <= at_ms else None)

        return self._stop(refusal)

    def _stop(self, refusal_of: Callable[[Opened], ProxyError | None]) -> int:
        ended = 0
        for one in self.exchanges | self.waiting:
            refusal = refusal_of(one.opened)
            if refusal is not None:
                one.stop(refusal)
                ended += 1
        return ended

    def book_batch(
        self, record: UsageRecord, meter: Meter | None, prices: Pricing
    ) -> list[tuple[UsageRecord, UsageRecord]]:
        """Books what a batch has used, if this record's answer is the first that says it.

        Then that is the record of the request that made the batch, as booked and as it is now.
        """
        if meter is None or meter.batch is None:
            return []
        if record.reason == LATER:
            self.batches.begun((record,))
        booked = self.batches.over(record.upstream, meter.batch)
        if booked is None:
            return []
        late = late_batch(booked, meter.batch, self.now_ms(), self.journal.writer, prices)
        if late is None:
            return []
        self.journal.close(late)
        self.recorder.wake(late)
        return [(booked, late)]

    def tell(
        self,
        record: UsageRecord,
        duration_s: float,
        first_byte_s: float | None,
        log_requests: Literal["failed", "all", "none"],
    ) -> None:
        """Tells recorder, strict bounds, metrics and log of a record that is in the journal."""
        self.recorder.wake(record)
        self.served.learn(record)
        if record.dialect == PASSTHROUGH and record.upstream_request_id is not None:
            ids = record.upstream_request_id.split()
            self.owners.learn(record.upstream, record.team, record.key_id, ids)
        metrics = self.metrics
        metrics.record(record)
        metrics.timing(
            record.upstream,
            record.model_requested,
            duration_s,
            first_byte_s,
            record.output_tokens if record.stream else None,
        )
        if log_requests != "failed" or record.outcome is not Outcome.COMPLETED:
            request_line(log_requests, record)


class Present:
    """How many requests are in one stage. `with` counts one more for as long as it lasts."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1


class HeldBodies:
    """Bytes of request bodies in memory: in all, and by key of those that hold any."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self.by_key: dict[str, int] = {}

    def take(self, key_id: str, size_bytes: int, of_key_bytes: int) -> None:
        """The key holds `of_key_bytes` then. The caller has asked the bounds before."""
        self.total_bytes += size_bytes
        self.by_key[key_id] = of_key_bytes

    def give_back(self, key_id: str, size_bytes: int) -> None:
        """Not more than was taken."""
        self.total_bytes -= size_bytes
        left = self.by_key[key_id] - size_bytes
        if left:
            self.by_key[key_id] = left
        else:
            del self.by_key[key_id]


class KeyPlaces:
    """Places of one kind, for what may last as long as its client likes.

    One key takes a quarter of them at most.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, int] = {}

    @property
    def count(self) -> int:
        return sum(self._by_key.values())

    def take(self, key_id: str, most: int) -> bool:
        """Whether there was a place; the same key gives it back."""
        own = self._by_key.get(key_id, 0)
        if self.count >= most or own >= -(-most // PLACES_SHARE):
            return False
        self._by_key[key_id] = own + 1
        return True

    def give_back(self, key_id: str) -> None:
        left = self._by_key[key_id] - 1
        if left:
            self._by_key[key_id] = left
        else:
            del self._by_key[key_id]


class UsageRefusals:
    """The models whose vendor refused the question for usage (`stream_usage: inject`).

    A refusal is remembered for its key alone: one caller can write a request that a vendor refuses
    for the question and takes without it, and must not turn the question off for all. Refusals to
    several keys are the vendor's own way.
    """

    def __init__(self) -> None:
        self._until_s: dict[
            tuple[str, str], dict[str, float]
        ] = {}  # by upstream and model, then by key

    def may_ask(self, upstream: str, model: str, key_id: str, now_s: float) -> bool:
        known = self._until_s.get((upstream, model))
        if known is None:
            return True
        return (
            known.get(key_id, 0.0) <= now_s
            and sum(until_s > now_s for until_s in known.values()) < DECLINED_KEYS
        )

    def declined(self, upstream: str, model: str, key_id: str, now_s: float) -> None:
        """Remembers a refusal for ten minutes.

        The number is bounded, for model names come from clients, and so may keys.
        """
        pair = (upstream, model)
        if pair not in self._until_s and len(self._until_s) >= DECLINED_MAX:
            self._until_s = {
                known: keys for known, keys in self._until_s.items() if max(keys.values()) > now_s
            }
            if len(self._until_s) >= DECLINED_MAX:
                return
        keys = {
            known: until_s
            for known, until_s in self._until_s.get(pair, {}).items()
            if until_s > now_s
        }
        if len(keys) < DECLINED_KEYS:
            keys[key_id] = now_s + DECLINED_S
        self._until_s[pair] = keys


def journal_unavailable(what: str, so: str, *, again: bool = True) -> ProxyError:
    """503: the journal cannot take an entry that must come first.

    Not `again`: the request was sent and is charged, and no SDK may send it once more by itself.
    """
    # Without the reason, which may name a path: the log and the admin API have it.
    message = f"The proxy cannot {what}, so {so}; the operator has to mend it."
    if again:
        return unavailable("journal_unavailable", message)
    headers = (("x-should-retry", "false"),)
    return ProxyError(503, "api_error", "journal_unavailable", message, headers=headers)
