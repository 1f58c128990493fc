"""One config, compiled: routes, upstreams, prices and limits. A reload makes a new one."""

from __future__ import annotations

import copy
from decimal import Decimal
from zoneinfo import ZoneInfo

from proxy.config.aliases import aliases_of
from proxy.config.instants import instant_ms
from proxy.config.limits import rules_of
from proxy.config.price_terms import price_book_of
from proxy.config.prices import table_of
from proxy.config.settings import ImageTokens, Settings, timeouts_of
from proxy.config.settings.upstreams import APIS
from proxy.core.dialects.registry import api_of
from proxy.core.errors import ProxyError
from proxy.core.limits.refusals import RateLimitFields
from proxy.core.limits.rules import Rules
from proxy.core.model_names import match, model_not_found
from proxy.core.tokens.images import IMAGE_RULES, ImageRule, Patches, Tiles
from proxy.dataplane.attribution import Attribution
from proxy.dataplane.passed import PassedPaths
from proxy.dataplane.upstream.upstream import Upstream
from proxy.tenants.ring import KeyUnknown, Tenant

PRICED_NAMED_MAX = 20  # in a refusal
# models whose route was looked up; the names come from clients, hence the bound
ROUTES_REMEMBERED_MAX = 4096
_ALL_OTHERS = "all that no route above names"  # a route of `*`, in words


class Snapshot:
    """Immutable but for the memos of routes and prices. An exchange keeps the one of its admission.

    Raises OSError or TableError for files that are gone since the config was checked.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.upstreams = {
            name: Upstream(name, upstream, timeouts_of(settings, upstream))
            for name, upstream in settings.upstreams.items()
        }
        self.passed = PassedPaths(settings, self.upstreams)
        table = table_of(settings)
        self.prices = price_book_of(settings, table)
        # of the bundled table
        self.prices_updated_s = None if table is None else instant_ms(table.date, "UTC") // 1000
        self.zone = ZoneInfo(settings.timezone)
        self.rules = rules_of(settings)
        self.limit_fields = RateLimitFields()
        self.attribution = Attribution(settings.attribution, self.rules.dimensions())
        self.image_rules = (*map(_image_rule, settings.images), *IMAGE_RULES)
        self.origins = frozenset(origin.encode() for origin in settings.cors.origins)
        self.forwards = any(upstream.auth == "forward" for upstream in settings.upstreams.values())
        # the routes that send another name than the caller's, by that
        self.aliases = aliases_of(settings)
        self._routes = tuple((route.model, route.upstream) for route in settings.routes)
        self._routed: dict[str, Upstream] = {}

    def with_tenants(self, settings: Settings, rules: Rules | None = None) -> Snapshot:
        """The same with other keys and teams in its settings, and with the limits of all."""
        new = copy.copy(self)
        new._take(settings, rules_of(settings) if rules is None else rules)
        return new

    def _take(self, settings: Settings, rules: Rules) -> None:
        self.settings, self.rules = settings, rules
        self.attribution = Attribution(settings.attribution, rules.dimensions())

    def upstream_for(self, model: str) -> Upstream | None:
        """The upstream of the first route that matches, or None."""
        upstream = self._routed.get(model)
        if upstream is None:
            name = match(model, self._routes)
            if name is None:
                return None
            upstream = self.upstreams[name]
            if len(self._routed) < ROUTES_REMEMBERED_MAX:
                self._routed[model] = upstream
        return upstream

    def sent_name(self, model: str) -> str | None:
        """The name that its upstream is sent for an alias; None: the same name."""
        alias = self.aliases.get(model)
        return None if alias is None else alias.sent

    def no_route(self, model: str) -> ProxyError:
        """404 with the nearest names that the routes spell out."""
        return model_not_found(model, [pattern for pattern, _ in self._routes])

    def why_unusable(self, tenant: Tenant, upstream: Upstream) -> ProxyError | None:
        """Why this caller's request cannot go to this upstream, or None."""
        if tenant.forwarded and upstream.settings.auth != "forward":
            return KeyUnknown(self.settings.support)
        if tenant.ours and upstream.settings.auth == "forward":
            message = (
                f"The upstream `{upstream.name}` takes the caller's own vendor key, and this is a"
                " key of the proxy, which is never forwarded. Send the vendor's."
            )
            return ProxyError(401, "invalid_request_error", "invalid_api_key", message)
        if not upstream.configured:
            message = (
                f"The upstream `{upstream.name}` has no API key yet: the operator has to set"
                f" `upstreams.{upstream.name}.api_key`."
            )
            return ProxyError(
                503,
                "api_error",
                "upstream_not_configured",
                message,
                headers=(("x-should-retry", "false"),),
            )
        return None

    def check_usable(self, tenant: Tenant, upstream: Upstream) -> None:
        """Raises the error of `why_unusable`, if there is one."""
        error = self.why_unusable(tenant, upstream)
        if error is not None:
            raise error

    def check_served(self, upstream: Upstream, endpoint: str) -> None:
        """Raises 404 where the config says that this upstream does not serve such requests."""
        api = api_of(endpoint)
        if api not in APIS or api in upstream.settings.apis:
            return
        others = [name for name, other in self.upstreams.items() if api in other.settings.apis]
        globs = [model for model, name in self._routes if name in others]
        named = ", ".join(glob if glob != "*" else _ALL_OTHERS for glob in globs)
        instead = f"Models that are routed to one which does: {named}." if globs else ""
        ask = (
            f"If its vendor does, the operator can add `{api}` to `upstreams.{upstream.name}.apis`."
        )
        message = (
            f"The upstream `{upstream.name}`, to which this model is routed, does not serve"
            f" {endpoint} here. {instead or ask}"
        )
        raise ProxyError(404, "invalid_request_error", "api_not_served", message, param="model")

    def check_priced(self, upstream: Upstream, model: str, now_ms: int) -> None:
        """Raises 403 where `unpriced: deny` holds and nothing says what this model costs."""
        if self.settings.unpriced != "deny" or self.prices.is_priced(upstream.name, model, now_ms):
            return
        known = self.prices.priced_models(upstream.name)
        named = ""
        if known:
            more = " …" if len(known) > PRICED_NAMED_MAX else "."
            named = f" Models with a price there: {', '.join(known[:PRICED_NAMED_MAX])}{more}"
        message = (
            f"The model {model[:100]!r} has no price at the upstream `{upstream.name}`, and this"
            " proxy passes on only what it can bill. The operator has to add it to"
            f" `prices`.{named}"
        )
        raise ProxyError(403, "invalid_request_error", "model_not_priced", message, param="model")


def _image_rule(row: ImageTokens) -> ImageRule:
    if row.patch is not None:
        return Patches(
            models=row.models,
            patch_millitokens=int(Decimal(row.patch) * 1000),
            patches_max=row.patches_max,
        )
    assert row.base is not None and row.tile is not None, "the config was checked"
    return Tiles(models=row.models, base_tokens=row.base, tile_tokens=row.tile)
