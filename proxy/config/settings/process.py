"""What runs, where, and how much of it: listeners, logs, stopping, timeouts, memory, storage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from proxy.config.fields import Block, HeaderName, Name, about, seconds, size


class MetricsSettings(Block, frozen=True, kw_only=True):
    """The Prometheus metrics."""

    listen: Annotated[
        str, about("address of GET /metrics; it is served nowhere else", "address")
    ] = "127.0.0.1:9464"
    labels: Annotated[
        tuple[Literal["team", "key", "model", "upstream"], ...],
        about("labels of the ledger's series; the others are left empty"),
    ] = ("team", "key", "model", "upstream")
    hosts: Annotated[
        tuple[str, ...],
        about(
            'public names under which scrapers call it, besides addresses and private names; "*"'
            " for any"
        ),
    ] = ()
    max_series: Annotated[
        int, about("label combinations kept apart; later ones are counted as `other`", at_least=1)
    ] = 10_000


class AdminToken(Block, frozen=True, kw_only=True):
    """One token of the admin API."""

    token: Annotated[str, about("the token; empty disables it", "secret")] = ""
    role: Annotated[Literal["admin", "viewer"], about("what the token may do")] = "viewer"


class OidcSettings(Block, frozen=True, kw_only=True):
    """An OpenID Connect provider that signs people in to the admin pages; the extra `oidc`."""

    issuer: Annotated[
        str, about("its issuer, as its discovery document states it; empty: there is none")
    ] = ""
    client_id: Annotated[str, about("the id that it knows these pages by")] = ""
    client_secret: Annotated[str, about("the secret beside it", "secret")] = ""
    redirect: Annotated[
        str, about("the address of /ui/oidc as browsers reach it, registered with it")
    ] = ""
    scope: Annotated[str, about("what is asked for")] = "openid email"
    claim: Annotated[str, about("the claim that names somebody in the audit")] = "email"
    admins: Annotated[
        tuple[str, ...], about("who of those may change things; all others may only look")
    ] = ()


class AdminSettings(Block, frozen=True, kw_only=True):
    """The admin API on TCP, if a token is configured.

    The command line on this machine uses the socket in `data_dir` and needs no token.
    """

    listen: Annotated[str, about("address of /admin/v1", "address")] = "127.0.0.1:8791"
    tokens: Annotated[
        dict[Name, AdminToken], about("tokens by name; without one nothing listens there")
    ] = {}
    hosts: Annotated[
        tuple[Annotated[str, about("a host's name, without a port", "host")], ...],
        about("public names under which it is called, besides addresses and its own name"),
    ] = ()
    trusted_header: Annotated[
        HeaderName | None,
        about(
            "header in which a server in front of the pages says who has signed in there, such as"
            " x-auth-user"
        ),
    ] = None
    trusted_from: Annotated[
        tuple[Annotated[str, about("a network such as 10.0.0.0/8, or an address", "network")], ...],
        about("addresses of that server; from all others the header is refused"),
    ] = ()
    trusted_admins: Annotated[
        tuple[str, ...],
        about("who of those that it names may change things; all others may only look"),
    ] = ()
    oidc: Annotated[OidcSettings, about("sign-in to the pages at a provider")] = OidcSettings()
    stale_max_s: Annotated[
        float | None,
        seconds(
            "while a shared ledger is away: keys that are made at run time are served for so long"
        ),
    ] = None


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
            "at once, of one key at most a quarter; beyond it the answer is stopped and what it"
            " held is charged",
            at_least=0,
        ),
    ] = 64
    timeout_s: Annotated[float, seconds("at most this long each", zero=True)] = 60.0


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
    adopt: Annotated[
        bool,
        about(
            "book the journals that silent processes left in this data_dir, where several have one"
        ),
    ] = False


class LedgerSettings(Block, frozen=True, kw_only=True):
    """The book of records."""

    url: Annotated[
        str, about("sqlite:FILE, relative to data_dir; or a postgresql:// URL", "ledger_url")
    ] = "sqlite:ledger.db"
    key_file: Annotated[
        Path,
        about("key that signs the chain's heads, made if absent; relative to data_dir", "path"),
    ] = Path("ledger.key")


_Outage = Literal["refuse", "count"]


class OnOutageSettings(Block, frozen=True, kw_only=True):
    """What happens to requests while a shared quota is away, by the mode of their limits.

    `refuse`: 503 `quota_unavailable`. `count`: they pass, and are counted once it is back. A
    request goes by its strictest limit.
    """

    strict: Annotated[Literal["refuse"], about("a strict limit is never passed uncounted")] = (
        "refuse"
    )
    cut: Annotated[_Outage, about("refuse | count")] = "count"
    finish: Annotated[_Outage, about("refuse | count")] = "count"
    warn: Annotated[_Outage, about("refuse | count")] = "count"


class QuotaSettings(Block, frozen=True, kw_only=True):
    """The running counts of limits."""

    url: Annotated[
        str,
        about(
            "memory: keeps them in this process; valkey://:PASSWORD@HOST:6379/0 in a server that"
            " several share, valkeys:// by TLS",
            "quota_url",
        ),
    ] = "memory:"
    timeout_s: Annotated[float, seconds("a shared quota's answer")] = 0.25
    outage_max_s: Annotated[
        float, seconds("so long `on_outage` counts; then it refuses", zero=True)
    ] = 60.0
    on_outage: Annotated[
        OnOutageSettings, about("while a shared quota is away, by a limit's mode")
    ] = OnOutageSettings()
    values_max: Annotated[
        int,
        about(
            "values of one `per` that have counts of their own; all further ones share one",
            at_least=1,
            at_most=1_000_000,
        ),
    ] = 10_000


class CorsSettings(Block, frozen=True, kw_only=True):
    """Web pages that call the proxy from a browser."""

    origins: Annotated[
        tuple[Annotated[str, about("https://host, without a path", "origin")], ...],
        about("whose pages may; empty: none. A key in a page is everybody's who opens it"),
    ] = ()


class PagesSettings(Block, frozen=True, kw_only=True):
    """Pages in a browser."""

    team: Annotated[
        bool,
        about("/ui at the callers' address: what a key or its team may still use, and has used"),
    ] = False
    admin: Annotated[
        bool,
        about("/ui at `admin.listen`: administrators see what is used, and change keys and teams"),
    ] = False
    costs: Annotated[
        bool, about("pages of teams show costs and prices too; by default charges alone")
    ] = False


class ModelsSettings(Block, frozen=True, kw_only=True):
    """The list of models."""

    enrich: Annotated[
        bool,
        about(
            "adds context, longest answer and our price; the list is then not the vendor's bytes"
        ),
    ] = False
