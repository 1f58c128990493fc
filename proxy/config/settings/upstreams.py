"""The vendors' APIs, and which one serves a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from proxy.config.fields import (
    Block,
    Glob,
    HeaderName,
    HeaderValue,
    Name,
    SteeringField,
    about,
    seconds,
    size,
)
from proxy.config.settings.limits import LimitSettings
from proxy.config.settings.prices import DatedShare

# what `apis` of an upstream can name: the part of a path behind its /v1
Api = Literal["chat", "completions", "embeddings", "responses", "messages"]
APIS: tuple[Api, ...] = get_args(Api)


class UpstreamTimeouts(Block, frozen=True, kw_only=True):
    """Timeouts of one upstream; those that it does not name are taken from `timeouts`."""

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
    credential: Annotated[
        Literal["bearer", "x-api-key", "api-key"],
        about(
            "how this vendor takes the key: Authorization: Bearer, or a header of its own name"
            " (Anthropic: x-api-key, Azure: api-key)"
        ),
    ] = "bearer"
    apis: Annotated[
        tuple[Api, ...],
        about("which APIs this vendor serves; a request for another one is 404"),
    ] = ("chat", "completions", "embeddings", "responses")
    stream_usage: Annotated[
        Literal["observe", "inject"],
        about(
            "observe changes no byte; inject asks each stream for its usage, so that none is"
            " estimated"
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
            "share off the listed price, a decimal in quotes; or a list of them with the day from"
            " which each holds",
            "decimal",
        ),
    ] = "0"
    price_source: Annotated[
        str,
        about(
            "provider of the bundled price table whose prices hold where no row of `prices` does;"
            " `tollkeeper price list` shows them"
        ),
    ] = ""
    served_price: Annotated[
        Literal["served", "requested"],
        about(
            "whose price holds where another model answers than was asked for: served, the"
            " answer's; requested, if the contract says so"
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
        bool | None,
        about(
            "whether this vendor counts cached tokens inside its prompt tokens; with false they are"
            " added to them; by default as the API has it: false for messages, else true"
        ),
    ] = None


class Route(Block, frozen=True, kw_only=True):
    """Which upstream serves a model."""

    model: Annotated[str, about("a model name, `*` and `?` as wildcards", "glob")]
    upstream: Annotated[str, about("a name in `upstreams`")]
    as_: Annotated[
        str | None,
        about(
            "the name that the upstream is sent instead, which is the model that is paid for; for a"
            " `model` without wildcards alone",
            "glob",
        ),
    ] = None


class Passthrough(Block, frozen=True, kw_only=True):
    """A path that is relayed without reading its requests. All that is not named answers 404."""

    path: Annotated[
        str,
        about("/v1/files is this path, /v1/files/* all below it, /v1/files* both", "http_path"),
    ]
    methods: Annotated[
        tuple[Literal["GET", "POST", "PUT", "PATCH", "DELETE"], ...],
        about("methods allowed"),
    ] = ("GET",)
    upstream: Annotated[str, about("a name in `upstreams`")]
    charge: Annotated[
        Literal["free", "per_request", "metered"],
        about(
            "free costs 0; per_request the `request` of the price row whose model is this path;"
            " metered what the answer states, else its cost is unknown"
        ),
    ] = "metered"
    teams: Annotated[
        tuple[Name, ...], about("teams that may use it; empty, and no `keys`: all")
    ] = ()
    keys: Annotated[tuple[Name, ...], about("keys that may use it, besides those of `teams`")] = ()
    ids: Annotated[
        Literal["team", "any"],
        about(
            "team: files and other objects are seen, changed and removed only by the team that made"
            " them; any: by all who may use the path"
        ),
    ] = "team"
    models: Annotated[
        Literal["own", "any"],
        about(
            "own: a key that may call some models only, or has a strict limit, orders no batch or"
            " training here, since what that runs is not read; any: it may"
        ),
    ] = "own"
    max_bytes: Annotated[int, size("one request's body, which is not held; beyond it 413")] = (
        512 * 2**20
    )
