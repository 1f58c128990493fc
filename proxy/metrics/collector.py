"""The process's counts: accumulators behind the metrics of `definitions.py`, read at a scrape.

Counting happens on the event loop, for each finished request and never for a chunk, into integers
and dicts; the library's own counters cost seven times that. `collect` runs in a thread at the same
time. It only reads, and takes each dict by `copy()`, which no other thread can interrupt. Two
metrics of one scrape may therefore be one request apart; none ever goes back.

Label values come from the configuration or from our own code, or are model names by the rule in
`_known`. No prompt, secret or end user is a label.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.registry import Collector

from proxy.config.settings import MetricsSettings
from proxy.core.model_names import sent_name, substituted
from proxy.core.usage import LATER, UsageRecord
from proxy.metrics import exposition
from proxy.metrics.buckets import OVERHEAD_BOUNDS_S
from proxy.metrics.counts import LedgerCounts, ModelCounts
from proxy.metrics.definitions import DIMENSIONS
from proxy.metrics.families import Families
from proxy.metrics.histogram import Histogram, Snapshot
from proxy.metrics.limits import LimitMetrics, limit_label
from proxy.metrics.upstream_limits import UpstreamLimits
from proxy.metrics.watched import WATCHED, WATCHED_BY_MODEL, WATCHED_HISTOGRAMS

OTHER = "other"
MODEL_CHARACTERS_MAX = 128
# Each model adds some 40 lines of histograms; the largest public catalogues list about 500 models.
MODELS_LEARNED_MAX = 1_000


class Metrics(Collector):
    """The counts of a process. The methods below count, and `render` makes the page.

    Call `record` before `timing`: a model becomes a label with its first 2xx answer.
    """

    def __init__(self, settings: MetricsSettings, version: str) -> None:
        self._kept = tuple(name in settings.labels for name in DIMENSIONS)
        self._combinations_max = settings.max_series
        self._dropped = 0
        self._models: set[str] = set()
        self._models_learned = 0
        # `_rows` is exported, by label values. `_row_of` has short cuts to the same objects, by a
        # record's own values.
        self._rows: dict[tuple[str, ...], LedgerCounts] = {}
        self._row_of: dict[tuple[str | None, str, str | None, str], LedgerCounts] = {}
        self._pairs: dict[tuple[str, ...], ModelCounts] = {}
        self._pair_of: dict[tuple[str, str | None], ModelCounts] = {}
        self._refusals: dict[tuple[str, ...], int] = {}
        self._http: dict[tuple[str, int], int] = {}
        self._client_gone: dict[tuple[str, str], int] = {}
        self._declined: dict[tuple[str, ...], int] = {}
        self._upstream_errors: dict[tuple[str, str], int] = {}
        self._overhead: dict[str, Histogram] = {}
        self._requests = 0
        self._streams = 0
        self._recovered = 0
        self._substituted = 0
        self._reload_ok = True
        self._version = version
        self._key_expiries_ms: Callable[[], Mapping[str, int]] = dict
        self._aliases: Mapping[str, Mapping[str, str]] = {}
        self.limits = LimitMetrics(settings.max_series)
        self.upstream_limits = UpstreamLimits()
        self._others: list[Callable[[Families], None]] = []
        self._watched: dict[str, Callable[[], float | None]] = {}
        self._watched_models: dict[str, Callable[[], Mapping[str, float]]] = {}
        self._watched_histograms: dict[str, Callable[[], Snapshot]] = {}

    def configured(
        self,
        models: Iterable[str],
        aliases: Mapping[str, Mapping[str, str]] = {},
    ) -> None:
        """Take the models of the config, at the start and after each reload.

        `models` are the names in routes and prices; globs among them are ignored. `aliases` has the
        name that an upstream is sent for another one.
        """
        self._aliases = aliases
        self._models.update(
            name
            for name in models
            if name.isprintable() and not any(sign in name for sign in "*?[")
        )

    def record(self, record: UsageRecord) -> None:
        """Count a settled usage record; not an adjustment, since a counter cannot go down."""
        row = self._row_of.get(
            (record.team, record.key_id, record.model_requested, record.upstream)
        )
        if row is None:
            row = self._row(record)
        ending = (record.status, record.outcome)
        row.endings[ending] = row.endings.get(ending, 0) + 1
        row.pair.sources[record.source] += 1
        if record.cost_nano is None and record.reason != LATER:
            row.pair.unpriced += 1
        if record.inconsistent:
            row.pair.inconsistent += 1
        served, requested = record.model_served, record.model_requested
        if (
            served is not None
            and served != requested
            and requested is not None
            and substituted(sent_name(self._aliases, record.upstream, requested), served)
        ):
            self._substituted += 1
        if record.input_tokens is not None:
            row.input_tokens += record.input_tokens
        if record.output_tokens is not None:
            row.output_tokens += record.output_tokens
        if record.cached_tokens is not None:
            row.cached_tokens += record.cached_tokens
        if record.cache_write_tokens is not None:
            row.cache_write_tokens += record.cache_write_tokens
        if record.cache_write_long_tokens is not None:
            row.cache_write_long_tokens += record.cache_write_long_tokens
        if record.searches is not None:
            row.searches += record.searches
        if record.reasoning_tokens is not None:
            row.reasoning_tokens += record.reasoning_tokens
        if record.currency is not None:
            if record.cost_nano is not None:
                row.cost_nano[record.currency] = (
                    row.cost_nano.get(record.currency, 0) + record.cost_nano
                )
            if record.charge_nano is not None:
                row.charge_nano[record.currency] = (
                    row.charge_nano.get(record.currency, 0) + record.charge_nano
                )

    def timing(
        self,
        upstream: str,
        model: str | None,
        duration_s: float,
        first_byte_s: float | None,
        output_tokens: int | None,
    ) -> None:
        """Time a finished answer. Pass `output_tokens` for streams only, else None.

        Without a stream the first byte says nothing about the pace.
        """
        pair = self._pair_of.get((upstream, model))
        if pair is None:
            pair = self._pair(upstream, model)
        pair.duration.observe(duration_s)
        if first_byte_s is not None:
            pair.first_byte.observe(first_byte_s)
            if output_tokens is not None and output_tokens > 1:
                pair.per_token.observe((duration_s - first_byte_s) / (output_tokens - 1))

    def http(self, route: str, code: int) -> None:
        """Count an answer on the data listener.

        `route` is a template of ours, never the client's path.
        """
        self._http[route, code] = self._http.get((route, code), 0) + 1

    def refused(
        self, team: str | None, key: str | None, code: str, limit: str | None = None
    ) -> None:
        """Count a request answered by the proxy itself with an error; `code` is ours.

        `limit`: the id of the limit that said no. It may name the key or team, and does so only
        where that is a label too.
        """
        whose = self._shown(team, key)[:2]
        labels = (*whose, code, limit_label(limit, (team, key), whose))
        if not self._room(self._refusals, labels):
            whose = self._shown(team, OTHER)[:2]
            labels = (*whose, code, limit_label(limit, (team, key), whose))
        self._refusals[labels] = self._refusals.get(labels, 0) + 1

    def overhead(self, phase: str, seconds: float) -> None:
        """Time one phase of the proxy's own work; `phase` is a word of our code."""
        timer = self._overhead.get(phase)
        if timer is None:
            timer = self._overhead[phase] = Histogram(OVERHEAD_BOUNDS_S)
        timer.observe(seconds)

    def inflight(self, requests_delta: int, streams_delta: int) -> None:
        """Move the two gauges: +1 at the beginning of a request or stream, -1 at its end."""
        self._requests += requests_delta
        self._streams += streams_delta

    def client_gone(self, upstream: str, policy: str) -> None:
        """Count a client that left; `policy` says what followed."""
        self._client_gone[upstream, policy] = self._client_gone.get((upstream, policy), 0) + 1

    def question_declined(self, upstream: str) -> None:
        """Count a request that was taken only without the question for its usage."""
        self._declined[upstream,] = self._declined.get((upstream,), 0) + 1

    def upstream_error(self, upstream: str, kind: str) -> None:
        """Count a failure of an upstream; `kind` is a word of our code."""
        self._upstream_errors[upstream, kind] = self._upstream_errors.get((upstream, kind), 0) + 1

    def upstream_errors(self, kind: str) -> dict[str, int]:
        """How many errors of this kind each upstream has had."""
        return {name: count for (name, one), count in self._upstream_errors.items() if one == kind}

    def unpriced(self) -> dict[tuple[str, str], int]:
        """How many requests had no known cost, by the labels of upstream and model."""
        return {
            (upstream, model): pair.unpriced
            for (upstream, model), pair in self._pairs.items()
            if pair.unpriced
        }

    def recovered(self, count: int) -> None:
        """Count exchanges settled after a crash."""
        self._recovered += count

    def reload(self, ok: bool) -> None:
        """Say whether the last reload was taken."""
        self._reload_ok = ok

    def watch(self, name: str, read: Callable[[], float | None]) -> None:
        """Let a part give the value of one of `WATCHED` at each scrape.

        `read` runs in the scrape's thread and must change nothing. None is not known.
        """
        assert name in WATCHED, f"{name} is not declared: add it to SPECS and WATCHED"
        self._watched[name] = read

    def watch_key_expiries(self, read_ms: Callable[[], Mapping[str, int]]) -> None:
        """Show when keys expire, as it is at each scrape: keys change without a reload."""
        self._key_expiries_ms = read_ms

    def watch_models(self, name: str, read: Callable[[], Mapping[str, float]]) -> None:
        """The same for one of `WATCHED_BY_MODEL`, with values by model.

        Only models that may be a label are shown.
        """
        assert name in WATCHED_BY_MODEL, (
            f"{name} is not declared: add it to SPECS and WATCHED_BY_MODEL"
        )
        self._watched_models[name] = read

    def watch_histogram(self, name: str, read: Callable[[], Snapshot]) -> None:
        """The same for one of `WATCHED_HISTOGRAMS`."""
        assert name in WATCHED_HISTOGRAMS, (
            f"{name} is not declared: add it to SPECS and WATCHED_HISTOGRAMS"
        )
        self._watched_histograms[name] = read

    def also(self, collect: Callable[[Families], None]) -> None:
        """Let a part add samples of its own to each page, in the scrape's thread."""
        self._others.append(collect)

    def render(self) -> bytes:
        """The whole of `/metrics` in the text format. It may take a second: call it in a thread."""
        return exposition.page(self.collect())

    def collect(self) -> Iterable[Metric]:
        """Every metric with its samples, as prometheus_client asks for them at a scrape."""
        families = Families()
        for row in self._rows.copy().values():
            row.collect(families)
            exposition.rest()
        unpriced: dict[tuple[str, ...], int] = {}
        for pair in self._pairs.copy().values():
            pair.collect(families)
            exposition.rest()
            if pair.unpriced:
                unpriced[pair.model,] = unpriced.get((pair.model,), 0) + pair.unpriced
        families.counts("unpriced_requests_total", unpriced)
        families.counts("refusals_total", self._refusals.copy())
        families.counts("http_requests_total", self._http.copy())
        families.counts("client_gone_total", self._client_gone.copy())
        families.counts("usage_questions_declined_total", self._declined.copy())
        families.counts("upstream_errors_total", self._upstream_errors.copy())
        for phase, timer in self._overhead.copy().items():
            families.histogram("overhead_seconds", (phase,), timer.snapshot())
        for key, expires_at_ms in self._key_expiries_ms().items():
            families.add("key_expiry_timestamp_seconds", (key,), expires_at_ms / 1000)
        families.add("inflight_requests", (), self._requests)
        families.add("inflight_streams", (), self._streams)
        families.add("recovered_total", (), self._recovered)
        families.add("model_substituted_total", (), self._substituted)
        families.add("series_dropped_total", (), self._dropped + self.limits.dropped)
        families.add("config_last_reload_successful", (), self._reload_ok)
        families.add("build_info", (self._version,), 1)
        for collect in (self.limits.collect, self.upstream_limits.collect, *self._others):
            collect(families)
        for name, read in self._watched.items():
            # If the directory behind a gauge is gone, only its own sample is missing.
            with contextlib.suppress(OSError):
                value = read()
                if value is not None:
                    families.add(name, (), value)
        for name, values in self._watched_models.items():
            for model, figure in values().items():
                if model in self._models:
                    families.add(name, (model,), figure)
        for name, snapshot in self._watched_histograms.items():
            families.histogram(name, (), snapshot())
        return families.all()

    def _shown(
        self, team: str | None, key: str | None, model: str = "", upstream: str = ""
    ) -> tuple[str, ...]:
        """The four labels. One that is not known or not in `metrics.labels` is empty.

        To Prometheus an empty label is an absent one.
        """
        values = (team or "", key or "", model, upstream)
        return tuple(value if kept else "" for value, kept in zip(values, self._kept, strict=True))

    def _known(self, model: str | None) -> str:
        """The label of a model: its name if the config has it or it has answered 2xx.

        Any other name may be made up by a client, so it is `other`.
        """
        if model is None:
            return ""
        return model if model in self._models else OTHER

    def _learn(self, model: str | None) -> None:
        """Make a label of a model that has answered 2xx."""
        # A printable name is also one that UTF-8 can carry; any other would break the whole page.
        if (
            model is None
            or model in self._models
            or len(model) > MODEL_CHARACTERS_MAX
            or not model.isprintable()
        ):
            return
        if self._models_learned < MODELS_LEARNED_MAX:
            self._models_learned += 1
            self._models.add(model)
        else:
            self._dropped += 1

    def _room(self, table: Mapping[tuple[str, ...], object], labels: tuple[str, ...]) -> bool:
        """Whether there is room for these labels in their table. If not, that is counted."""
        if labels in table or len(table) < self._combinations_max:
            return True
        self._dropped += 1
        return False

    def _row(self, record: UsageRecord) -> LedgerCounts:
        """The slow path of `record`: find or make the row.

        Folded and unknown names come here each time. They are unbounded, so they get no short cut.
        """
        if record.status is not None and 200 <= record.status < 300:
            self._learn(record.model_requested)
        model = self._known(record.model_requested)
        labels = self._shown(record.team, record.key_id, model, record.upstream)
        short_cut = (
            model == (record.model_requested or "") and len(self._row_of) < self._combinations_max
        )
        if not self._room(self._rows, labels):
            # Team and upstream are kept, so that their sums stay true; only the config names them.
            labels = self._shown(record.team, OTHER, OTHER, record.upstream)
            short_cut = False
        row = self._rows.get(labels)
        if row is None:
            row = self._rows[labels] = LedgerCounts(
                labels, self._pair(record.upstream, labels[2] or None)
            )
        if short_cut:
            self._row_of[record.team, record.key_id, record.model_requested, record.upstream] = row
        return row

    def _pair(self, upstream: str, model: str | None) -> ModelCounts:
        """The slow path of `timing`, as `_row` is of `record`."""
        known = self._known(model)
        # The last two labels, upstream first.
        labels = self._shown(None, None, known, upstream)[:1:-1]
        short_cut = known == (model or "") and len(self._pair_of) < self._combinations_max
        if not self._room(self._pairs, labels):
            labels = self._shown(None, None, OTHER, upstream)[:1:-1]
            short_cut = False
        pair = self._pairs.get(labels)
        if pair is None:
            pair = self._pairs[labels] = ModelCounts(labels)
        if short_cut:
            self._pair_of[upstream, model] = pair
        return pair
