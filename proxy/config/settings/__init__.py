"""What config.yaml can say: a frozen struct for each block, gathered in `Settings`.

Each key stands with its default and the sentence that documents it. The JSON Schema, the error
messages and the documentation test are made from these sentences.

- `limits.py`: how much, and what happens beyond it
- `prices.py`: what tokens cost
- `upstreams.py`: the vendors, and which one serves a model
- `callers.py`: who calls, who pays, for whom
- `notify.py`: who is told of what happens
- `process.py`: listeners, stopping, timeouts, memory, storage

Python names end in their unit (`connect_s`, `max_bytes`); config.yaml leaves the unit to the value
(`connect: 10s`, `max: 32MiB`). `proxy.config.loader` reads a file into these types; nothing else
reads one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from proxy.config.fields import Block, Currency, Name, about
from proxy.config.settings.callers import (
    AttributionSettings,
    KeySettings,
    PrivacySettings,
    TagSettings,
    TeamSettings,
)
from proxy.config.settings.limits import Defaults, LimitDefaults, LimitSettings, StrictSettings
from proxy.config.settings.notify import NotifySettings, SmtpSettings
from proxy.config.settings.prices import DatedShare, FxRate, ImageTokens, Price
from proxy.config.settings.process import (
    AdminSettings,
    AdminToken,
    AfterClientLeftSettings,
    BodySettings,
    CorsSettings,
    DrainSettings,
    JournalSettings,
    LedgerSettings,
    LogSettings,
    MetricsSettings,
    ModelsSettings,
    OidcSettings,
    PagesSettings,
    QuotaSettings,
    TimeoutSettings,
)
from proxy.config.settings.upstreams import Passthrough, Route, UpstreamSettings, UpstreamTimeouts

__all__ = [
    "AdminSettings",
    "AdminToken",
    "AfterClientLeftSettings",
    "AttributionSettings",
    "BodySettings",
    "CorsSettings",
    "DatedShare",
    "Defaults",
    "DrainSettings",
    "FxRate",
    "ImageTokens",
    "JournalSettings",
    "KeySettings",
    "LedgerSettings",
    "LimitDefaults",
    "LimitSettings",
    "LogSettings",
    "MetricsSettings",
    "ModelsSettings",
    "NotifySettings",
    "OidcSettings",
    "PagesSettings",
    "Passthrough",
    "Price",
    "PrivacySettings",
    "QuotaSettings",
    "Route",
    "Settings",
    "SmtpSettings",
    "StrictSettings",
    "TagSettings",
    "TeamSettings",
    "TimeoutSettings",
    "UpstreamSettings",
    "UpstreamTimeouts",
    "addresses_of",
    "admin_listens",
    "host_port",
    "timeouts_of",
]


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
    instance: Annotated[
        Name | None,
        about("this process among those that share a ledger; null: the host's name"),
    ] = None
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
            "where no usage is stated: counted with a vocabulary and what the model's other answers"
            " taught; or bytes / 4, which loads and learns nothing"
        ),
    ] = "counted"
    support: Annotated[str, about("printed in refusals: whom to ask")] = ""
    privacy: Annotated[PrivacySettings, about("personal data")] = PrivacySettings()
    unpriced: Annotated[
        Literal["allow", "deny"],
        about(
            "models without a price: allow leaves their cost unknown, deny answers 403"
            " model_not_priced"
        ),
    ] = "allow"
    upstreams: Annotated[dict[Name, UpstreamSettings], about("vendors by name")] = {}
    routes: Annotated[tuple[Route, ...], about("model -> upstream; the first match wins")] = ()
    passthrough: Annotated[
        tuple[Passthrough, ...], about("other paths to relay; all else is 404")
    ] = ()
    cors: Annotated[CorsSettings, about("browsers")] = CorsSettings()
    pages: Annotated[PagesSettings, about("pages in a browser")] = PagesSettings()
    models: Annotated[ModelsSettings, about("GET /v1/models")] = ModelsSettings()
    prices: Annotated[
        tuple[Price, ...],
        about("price rows; the most specific one applies, then the latest `from`"),
    ] = ()
    images: Annotated[
        tuple[ImageTokens, ...],
        about(
            "tokens of images in prompts, for counts and estimates; rows here come before the"
            " built-in ones"
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
    notify: Annotated[
        tuple[NotifySettings, ...],
        about("who is told when a limit is reached or something is wrong; a team may have its own"),
    ] = ()
    smtp: Annotated[SmtpSettings, about("the server for mail of `notify`")] = SmtpSettings()
    attribution: Annotated[AttributionSettings, about("whom a request is recorded for")] = (
        AttributionSettings()
    )
    timeouts: Annotated[TimeoutSettings, about("how long each step may take")] = TimeoutSettings()
    bodies: Annotated[BodySettings, about("bytes held in memory")] = BodySettings()
    inflight_max: Annotated[int, about("requests at once; beyond it 503", at_least=1)] = 10_000
    connections_max: Annotated[
        int | None,
        about(
            "clients' connections at once, as far as file descriptors allow; null: twice"
            " inflight_max",
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


def admin_listens(settings: Settings) -> bool:
    """Whether the admin plane listens on TCP: somebody can be known there."""
    admin = settings.admin
    by_another = admin.trusted_header is not None or bool(admin.oidc.issuer)
    return (settings.pages.admin and by_another) or any(
        token.token for token in admin.tokens.values()
    )


def host_port(listen: str) -> tuple[str, int]:
    """("127.0.0.1", 8790) of `127.0.0.1:8790`, ("::1", 8790) of `[::1]:8790`."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def timeouts_of(settings: Settings, upstream: UpstreamSettings) -> TimeoutSettings:
    """The timeouts of one upstream: its own where it names them, else the general ones."""
    own = {
        name: value
        for name in upstream.timeouts.__struct_fields__
        if (value := getattr(upstream.timeouts, name)) is not None
    }
    return msgspec.structs.replace(settings.timeouts, **own)
