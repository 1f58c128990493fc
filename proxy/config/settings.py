"""What config.yaml can say: one frozen struct a block, each key with its default and the sentence
that documents it.

Python names end in their unit (`connect_s`, `max_bytes`); config.yaml leaves the unit to the value
(`connect: 10s`, `max: 32MiB`).
The descriptions below are the reference: the JSON Schema, the error messages and the documentation
test are made from them.
`proxy.config` reads a file into these types; nothing else reads one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from proxy.config.fields import (
    Currency,
    EndUserSource,
    Glob,
    HeaderName,
    HeaderValue,
    Name,
    Percent,
    SteeringField,
    TagSource,
    about,
    seconds,
    size,
    yaml_name,
)


class Block(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=yaml_name
):
    """A mapping of config.yaml."""


class LimitSettings(Block, frozen=True, kw_only=True):
    """A limit, written as its rule alone or as a mapping."""

    limit: Annotated[str, about("the rule: `<amount> <unit>[/<per>][ for <models>]`", "limit")]
    name: Annotated[
        str, about("identity of the limit; by default derived from what it limits", "name")
    ] = ""
    enforce: Annotated[
        Literal["warn", "finish", "cut", "strict"], about("what happens when it is reached")
    ] = "finish"
    warn_at: Annotated[tuple[Percent, ...], about("shares of the amount at which to warn")] = ()
    burst: Annotated[
        int | None,
        about(
            "what a per-second, -minute or -hour limit admits at once; by default its amount",
            at_least=1,
        ),
    ] = None


class MetricsSettings(Block, frozen=True, kw_only=True):
    """The Prometheus metrics."""

    listen: Annotated[
        str, about("address of GET /metrics; it is served nowhere else", "address")
    ] = "127.0.0.1:9464"
    labels: Annotated[
        tuple[Literal["team", "key", "model", "upstream"], ...],
        about("labels of the ledger's series; the others are left empty"),
    ] = (
        "team",
        "key",
        "model",
        "upstream",
    )
    hosts: Annotated[
        tuple[str, ...],
        about(
            'public names under which scrapers call it, besides addresses and private names; "*" for any'
        ),
    ] = ()
    max_series: Annotated[
        int, about("label combinations kept apart; later ones are counted as `other`", at_least=1)
    ] = 10_000


class AdminToken(Block, frozen=True, kw_only=True):
    """One token of the admin API."""

    token: Annotated[str, about("the token; empty disables it", "secret")] = ""
    role: Annotated[Literal["admin", "viewer"], about("what the token may do")] = "viewer"


class AdminSettings(Block, frozen=True, kw_only=True):
    """The admin API on TCP, if a token is configured. The command line on this machine uses the
    socket in `data_dir` and needs none."""

    listen: Annotated[str, about("address of /admin/v1", "address")] = "127.0.0.1:8791"
    tokens: Annotated[
        dict[Name, AdminToken], about("tokens by name; without one nothing listens there")
    ] = {}


class LogSettings(Block, frozen=True, kw_only=True):
    """Log lines, on stderr."""

    format: Annotated[
        Literal["auto", "text", "json"], about("auto is text on a terminal, JSON else")
    ] = "auto"
    requests: Annotated[Literal["failed", "all", "none"], about("which requests get a line")] = (
        "failed"
    )


class DrainSettings(Block, frozen=True, kw_only=True):
    """Stopping the process."""

    delay_s: Annotated[
        float,
        seconds(
            "after SIGTERM: not ready, still serving, so that load balancers notice", zero=True
        ),
    ] = 5.0
    timeout_s: Annotated[
        float, seconds("then running requests may finish for this long", zero=True)
    ] = 60.0


class AfterClientLeftSettings(Block, frozen=True, kw_only=True):
    """Answers read to their end after the client has left (`on_client_gone`)."""

    max: Annotated[
        int,
        about(
            "at once, of one key at most a quarter; beyond it the answer is stopped and what it held is charged",
            at_least=0,
        ),
    ] = 64
    timeout_s: Annotated[float, seconds("at most this long each", zero=True)] = 60.0


class PrivacySettings(Block, frozen=True, kw_only=True):
    """Personal data in the ledger."""

    end_user: Annotated[
        Literal["off", "hash", "plain"],
        about("how an end user is recorded: not at all, as an erasable hash, as it came"),
    ] = "hash"


class FxRate(Block, frozen=True, kw_only=True):
    """One exchange rate, valid from a day on."""

    rate: Annotated[
        str,
        about("units of `currency` for one of the foreign unit, a decimal in quotes", "decimal"),
    ]
    from_: Annotated[
        str | None, about("first day, from midnight in `timezone`; by default always", "date")
    ] = None


class DatedShare(Block, frozen=True, kw_only=True):
    """A discount or markup, valid from a day on."""

    rate: Annotated[str, about('a share, a decimal in quotes: "0.05" is 5 %', "decimal")]
    from_: Annotated[
        str | None, about("first day, from midnight in `timezone`; by default always", "date")
    ] = None


class TimeoutSettings(Block, frozen=True, kw_only=True):
    """How long each step may take."""

    connect_s: Annotated[float, seconds("connecting to an upstream, TLS included")] = 10.0
    pool_s: Annotated[float, seconds("waiting for a free upstream connection")] = 5.0
    first_byte_s: Annotated[
        float, seconds("from the request's last byte to the response's first")
    ] = 600.0
    idle_s: Annotated[float, seconds("between two reads of a response")] = 600.0
    total_s: Annotated[float, seconds("a whole exchange")] = 3600.0
    header_s: Annotated[float, seconds("a client sending its request's head")] = 10.0
    body_idle_s: Annotated[float, seconds("between two reads of a request's body")] = 30.0
    keepalive_s: Annotated[float, seconds("an idle client connection is kept", zero=True)] = 65.0
    upstream_keepalive_s: Annotated[
        float,
        seconds("an idle upstream connection is kept; stay below the upstream's own", zero=True),
    ] = 4.0


class UpstreamTimeouts(Block, frozen=True, kw_only=True):
    """Timeouts of one upstream; what is left out is taken from `timeouts`."""

    connect_s: Annotated[float | None, seconds("connecting, TLS included")] = None
    pool_s: Annotated[float | None, seconds("waiting for a free connection")] = None
    first_byte_s: Annotated[
        float | None, seconds("from the request's last byte to the response's first")
    ] = None
    idle_s: Annotated[float | None, seconds("between two reads of a response")] = None
    total_s: Annotated[float | None, seconds("a whole exchange")] = None
    upstream_keepalive_s: Annotated[
        float | None, seconds("an idle connection is kept", zero=True)
    ] = None


class UpstreamSettings(Block, frozen=True, kw_only=True):
    """A vendor's API."""

    base_url: Annotated[
        str, about("what the vendor calls its base URL, usually ending in /v1", "base_url")
    ]
    api_key: Annotated[
        str, about("the operator's key; empty answers 503 upstream_not_configured", "secret")
    ] = ""
    auth: Annotated[
        Literal["own", "forward"], about("own sends api_key, forward the caller's own credential")
    ] = "own"
    stream_usage: Annotated[
        Literal["observe", "inject"],
        about(
            "observe changes no byte; inject asks each stream for its usage, so that none is estimated"
        ),
    ] = "observe"
    on_client_gone: Annotated[
        Literal["auto", "stop", "drain"],
        about("a client left: stop reading, drain to the end, or auto: by kind of answer"),
    ] = "auto"
    limits: Annotated[tuple[LimitSettings, ...], about("limits of this upstream")] = ()
    discount: Annotated[
        str | tuple[DatedShare, ...],
        about(
            "share off the listed price, a decimal in quotes; or a list of them with the day from which each holds",
            "decimal",
        ),
    ] = "0"
    price_source: Annotated[
        str,
        about(
            "provider of the bundled price table whose prices hold where no row of `prices` does; `tollkeeper price list` shows them"
        ),
    ] = ""
    served_price: Annotated[
        Literal["served", "requested"],
        about(
            "whose price holds where another model answers than was asked for: served, the answer's; requested, if the contract says so"
        ),
    ] = "served"
    headers: Annotated[
        dict[HeaderName, HeaderValue],
        about("headers added to each request, replacing the client's"),
    ] = {}
    query: Annotated[dict[str, str], about("query parameters added to each request")] = {}
    proxy: Annotated[
        str, about("HTTP proxy on the way to this upstream, http://host:port", "proxy_url")
    ] = ""
    ca_file: Annotated[
        Path | None, about("PEM file of the authorities to trust instead of the system's", "path")
    ] = None
    timeouts: Annotated[UpstreamTimeouts, about("timeouts that differ from the general ones")] = (
        UpstreamTimeouts()
    )
    connections_max: Annotated[int, about("connections to this upstream", at_least=1)] = 1000
    allow_fields: Annotated[
        tuple[SteeringField, ...],
        about("request fields passed on though they choose a model, vendor, host or key"),
    ] = ()
    request_headers: Annotated[
        Literal["all", "listed"],
        about(
            "all: but for those that steer or tell a key; listed: only those known to be harmless"
        ),
    ] = "all"
    allow_request_headers: Annotated[
        tuple[HeaderName, ...],
        about("request headers forwarded though they are stripped by default; never a credential"),
    ] = ()
    allow_response_headers: Annotated[
        tuple[HeaderName, ...],
        about("response headers forwarded though they are stripped by default"),
    ] = ()
    pass_credential_errors: Annotated[
        bool,
        about(
            "pass the upstream's 401 and 403 about the operator's key on; the key in it is masked"
        ),
    ] = False
    hidden_reasoning: Annotated[
        tuple[Glob, ...], about("models that bill reasoning they do not show")
    ] = ()
    cached_inside_input: Annotated[
        bool,
        about(
            "whether this vendor counts cached tokens inside its prompt tokens; with false they are added to them"
        ),
    ] = True


class Route(Block, frozen=True, kw_only=True):
    """Which upstream serves a model."""

    model: Annotated[str, about("a model name, `*` and `?` as wildcards", "glob")]
    upstream: Annotated[str, about("a name in `upstreams`")]


class Passthrough(Block, frozen=True, kw_only=True):
    """A path relayed without reading it. Accepted; not served by this version."""

    path: Annotated[str, about("a path, `*` as a wildcard at its end", "http_path")]
    methods: Annotated[
        tuple[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"], ...],
        about("methods allowed"),
    ] = ("GET",)
    upstream: Annotated[str, about("a name in `upstreams`")]


class Price(Block, frozen=True, kw_only=True):
    """A price row: decimals in quotes, per million tokens."""

    model: Annotated[str, about("a model name, `*` and `?` as wildcards", "glob")]
    upstream: Annotated[str | None, about("a name in `upstreams`; by default any")] = None
    input: Annotated[str | None, about("input tokens", "decimal")] = None
    cached: Annotated[
        str | None, about("input tokens read from a cache; by default as input", "decimal")
    ] = None
    cache_write: Annotated[
        str | None, about("input tokens written to a cache; by default as input", "decimal")
    ] = None
    output: Annotated[str | None, about("output tokens", "decimal")] = None
    reasoning: Annotated[str | None, about("reasoning tokens; by default as output", "decimal")] = (
        None
    )
    audio_input: Annotated[
        str | None, about("audio input tokens; by default as input", "decimal")
    ] = None
    audio_output: Annotated[
        str | None, about("audio output tokens; by default as output", "decimal")
    ] = None
    image: Annotated[str | None, about("one image in a request", "decimal")] = None
    request: Annotated[
        str | None, about("one request that was answered with a 2xx status", "decimal")
    ] = None
    service_tier: Annotated[str | None, about("only answers of this tier")] = None
    above_input_tokens: Annotated[
        int | None,
        about(
            "only requests with more input tokens; the row's prices then hold for all of them",
            at_least=0,
        ),
    ] = None
    hours_utc: Annotated[
        str | None,
        about("only requests begun in these hours of the UTC day, such as 16:30-00:30", "hours"),
    ] = None
    currency: Annotated[
        str | None, about("currency of the row; by default the top-level one", "currency")
    ] = None
    from_: Annotated[
        str | None, about("first day, from midnight in `timezone`; by default always", "date")
    ] = None


class ImageTokens(Block, frozen=True, kw_only=True):
    """What an image in a prompt counts as, for models whose rule differs from the vendors'
    published ones or is not known: by tiles, or by patches."""

    models: Annotated[str, about("a model name, `*` and `?` as wildcards", "glob")]
    base: Annotated[
        int | None,
        about(
            "tiles of 512 px: tokens of the image as such, all there is at `detail: low`",
            at_least=0,
        ),
    ] = None
    tile: Annotated[int | None, about("tokens of each tile", at_least=0)] = None
    patch: Annotated[
        str | None, about("patches of 32 px: tokens of each, a decimal in quotes", "decimal")
    ] = None
    patches_max: Annotated[
        int, about("patches to which a larger image is scaled down", at_least=1)
    ] = 1536


class LimitDefaults(Block, frozen=True, kw_only=True):
    """Limits of everyone of a kind."""

    limits: Annotated[tuple[LimitSettings, ...], about("limits")] = ()


class Defaults(Block, frozen=True, kw_only=True):
    """Limits of teams and keys that name none."""

    team: Annotated[LimitDefaults, about("for each team without `limits`")] = LimitDefaults()
    key: Annotated[LimitDefaults, about("for each key without `limits`")] = LimitDefaults()


class TeamSettings(Block, frozen=True, kw_only=True):
    """A team: who pays."""

    labels: Annotated[dict[str, str], about("labels on each of its records, for finance")] = {}
    markup: Annotated[
        str | tuple[DatedShare, ...],
        about(
            "share added to the cost: what the team is charged; a decimal in quotes, or a list of them with the day from which each holds",
            "decimal",
        ),
    ] = "0"
    limits: Annotated[
        tuple[LimitSettings, ...] | None, about("limits; by default `defaults.team.limits`")
    ] = None


class KeySettings(Block, frozen=True, kw_only=True):
    """An API key handed to a caller. A file that was read holds digests only: `secret` is emptied
    into `secret_sha256`."""

    team: Annotated[str | None, about("a name in `teams`")] = None
    secret: Annotated[str, about("the key itself; empty disables it", "secret")] = ""
    secret_sha256: Annotated[
        str, about("instead of `secret`: its SHA-256 in lower-case hex", "sha256")
    ] = ""
    models: Annotated[tuple[Glob, ...], about("models the key may call; by default all")] = ()
    expires: Annotated[
        str | None,
        about("day (midnight in `timezone`) or time from which it is refused", "instant"),
    ] = None
    labels: Annotated[dict[str, str], about("labels on each of its records, over the team's")] = {}
    limits: Annotated[
        tuple[LimitSettings, ...] | None, about("limits; by default `defaults.key.limits`")
    ] = None


class TagSettings(Block, frozen=True, kw_only=True):
    """Tags that callers put on their requests."""

    from_: Annotated[
        tuple[TagSource, ...], about("where tags are read; the first that names a tag wins")
    ] = ("header:x-tollkeeper-tags", "body:metadata")
    keep: Annotated[tuple[str, ...], about("tags recorded; all others are ignored")] = (
        "feature",
        "env",
    )


class StrictSettings(Block, frozen=True, kw_only=True):
    """What a request may use at most, for limits with `enforce: strict`: its body's bytes are the
    most input tokens that it can be."""

    overhead_tokens: Annotated[
        int, about("what a vendor may add to a prompt, in tokens", at_least=0)
    ] = 256
    output_tokens: Annotated[
        int | None,
        about(
            "the longest answer where a request names no max_tokens; by default such a request is refused",
            at_least=1,
        ),
    ] = None


class AttributionSettings(Block, frozen=True, kw_only=True):
    """Whom a request is recorded for, beyond its key."""

    end_user: Annotated[
        tuple[EndUserSource, ...], about("where the end user is read; the first usable one wins")
    ] = (
        "header:x-end-user",
        "body:safety_identifier",
        "body:user",
    )
    tags: Annotated[TagSettings, about("free labels from the caller")] = TagSettings()


class BodySettings(Block, frozen=True, kw_only=True):
    """Bytes held in memory."""

    max_bytes: Annotated[int, size("one request's body; beyond it 413")] = 32 * 2**20
    total_max_bytes: Annotated[
        int, size("all request bodies at once, of one key a quarter; beyond it 503")
    ] = 512 * 2**20
    rate_min_bytes: Annotated[
        int, size("a request's body must arrive at least this fast, per second; else 408")
    ] = 4 * 2**10
    event_max_bytes: Annotated[
        int, size("one event of a stream read for metering; a longer one passes unread")
    ] = 2**20
    answer_max_bytes: Annotated[
        int,
        size(
            "a JSON answer kept whole for metering; of a longer one only the ends", at_least=2**16
        ),
    ] = 4 * 2**20


class JournalSettings(Block, frozen=True, kw_only=True):
    """The local log that survives a crash."""

    sync: Annotated[
        Literal["interval", "always"],
        about("interval: to disk every `interval`; always: before each first and last byte"),
    ] = "interval"
    interval_s: Annotated[float, seconds("between two syncs: what a power cut may lose")] = 0.1
    keep_s: Annotated[float, seconds("finished segments are kept", zero=True)] = 7 * 86_400.0
    size_max_bytes: Annotated[int, size("the journal on disk; beyond it 503", at_least=2**20)] = (
        10 * 2**30
    )
    segment_bytes: Annotated[int, size("one segment file, preallocated", at_least=2**18)] = (
        16 * 2**20
    )


class LedgerSettings(Block, frozen=True, kw_only=True):
    """The book of records."""

    url: Annotated[str, about("sqlite:FILE, relative to data_dir", "ledger_url")] = (
        "sqlite:ledger.db"
    )
    key_file: Annotated[
        Path,
        about("key that signs the chain's heads, made if absent; relative to data_dir", "path"),
    ] = Path("ledger.key")


class QuotaSettings(Block, frozen=True, kw_only=True):
    """The running counts of limits."""

    url: Annotated[str, about("memory: keeps them in this process", "quota_url")] = "memory:"


class Settings(Block, frozen=True, kw_only=True):
    """The whole of config.yaml."""

    listen: Annotated[
        str | tuple[Annotated[str, about("host:port", "address")], ...],
        about(
            "address of the proxy, or a list of them; [::] is every address of both families",
            "address",
        ),
    ] = "127.0.0.1:8790"
    metrics: Annotated[MetricsSettings, about("Prometheus metrics")] = MetricsSettings()
    admin: Annotated[AdminSettings, about("admin API")] = AdminSettings()
    data_dir: Annotated[
        Path, about("directory of the ledger and the journal; relative to this file", "path")
    ] = Path("var")
    log: Annotated[LogSettings, about("log lines")] = LogSettings()
    drain: Annotated[DrainSettings, about("stopping the process")] = DrainSettings()
    after_client_left: Annotated[
        AfterClientLeftSettings, about("answers read on after the client has left")
    ] = AfterClientLeftSettings()
    timezone: Annotated[str, about("IANA zone of days, months and dates", "zone")] = "UTC"
    currency: Annotated[str, about("currency of the ledger", "currency")] = "USD"
    fx: Annotated[
        dict[Currency, tuple[FxRate, ...]], about("exchange rates by foreign currency")
    ] = {}
    estimates: Annotated[
        Literal["counted", "bytes"],
        about(
            "where no usage is stated: counted with a vocabulary and what the model's other answers taught; or bytes / 4, which loads and learns nothing"
        ),
    ] = "counted"
    support: Annotated[str, about("printed in refusals: whom to ask")] = ""
    privacy: Annotated[PrivacySettings, about("personal data")] = PrivacySettings()
    unpriced: Annotated[
        Literal["allow", "deny"],
        about(
            "models without a price: allow leaves their cost unknown, deny answers 403 model_not_priced"
        ),
    ] = "allow"
    upstreams: Annotated[dict[Name, UpstreamSettings], about("vendors by name")] = {}
    routes: Annotated[tuple[Route, ...], about("model -> upstream; the first match wins")] = ()
    passthrough: Annotated[
        tuple[Passthrough, ...], about("other paths to relay (not served yet)")
    ] = ()
    prices: Annotated[
        tuple[Price, ...],
        about("price rows; the most specific one applies, then the latest `from`"),
    ] = ()
    images: Annotated[
        tuple[ImageTokens, ...],
        about(
            "tokens of images in prompts, for counts and estimates; rows here come before the built-in ones"
        ),
    ] = ()
    limits: Annotated[tuple[LimitSettings, ...], about("limits of the whole proxy")] = ()
    quota_status: Annotated[
        int,
        about(
            "status of a used-up budget: 429, or 402 or 403, which no client tries again",
            at_least=402,
            at_most=429,
        ),
    ] = 429
    strict: Annotated[StrictSettings, about("the bounds that strict limits go by")] = (
        StrictSettings()
    )
    defaults: Annotated[Defaults, about("limits of teams and keys that name none")] = Defaults()
    include: Annotated[
        tuple[str, ...],
        about(
            "more files with `teams`, `keys` and `prices`, wildcards allowed; relative to this file"
        ),
    ] = ()
    teams: Annotated[dict[Name, TeamSettings], about("teams by name")] = {}
    keys: Annotated[dict[Name, KeySettings], about("API keys by name")] = {}
    attribution: Annotated[AttributionSettings, about("whom a request is recorded for")] = (
        AttributionSettings()
    )
    timeouts: Annotated[TimeoutSettings, about("how long each step may take")] = TimeoutSettings()
    bodies: Annotated[BodySettings, about("bytes held in memory")] = BodySettings()
    inflight_max: Annotated[int, about("requests at once; beyond it 503", at_least=1)] = 10_000
    connections_max: Annotated[
        int | None,
        about(
            "clients' connections at once, as far as file descriptors allow; null: twice inflight_max",
            at_least=1,
        ),
    ] = None
    journal: Annotated[JournalSettings, about("the local log that survives a crash")] = (
        JournalSettings()
    )
    ledger: Annotated[LedgerSettings, about("the book of records")] = LedgerSettings()
    quota: Annotated[QuotaSettings, about("the running counts of limits")] = QuotaSettings()


def addresses_of(settings: Settings) -> tuple[str, ...]:
    """Where the proxy listens, one or several."""
    return (settings.listen,) if isinstance(settings.listen, str) else settings.listen


def host_port(listen: str) -> tuple[str, int]:
    """("127.0.0.1", 8790) of `127.0.0.1:8790`, ("::1", 8790) of `[::1]:8790`."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def timeouts_of(settings: Settings, upstream: UpstreamSettings) -> TimeoutSettings:
    """The timeouts that hold for one upstream: its own where it names them, the general ones
    else."""
    own = {
        name: value
        for name in upstream.timeouts.__struct_fields__
        if (value := getattr(upstream.timeouts, name)) is not None
    }
    return msgspec.structs.replace(settings.timeouts, **own)
