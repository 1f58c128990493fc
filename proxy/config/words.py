"""The words that other gateways use in their configs, and what says the same here.

People bring LiteLLM's, Portkey's, Kong's or one-api's with them.
"""

from __future__ import annotations

import re

_LIMITS = 'write it as a limit: limits: ["60 requests/minute", "500 USD/month", "8 concurrent"]'
_BUDGET = 'a budget is a limit that names its period: limits: ["500 USD/month"]'
_UPSTREAMS = (
    "vendors are `upstreams` (base_url, api_key), and `routes` say which model goes to which"
)
_NAMES = "the name is what the block stands under: `alice: {…}`"
_PRICES = (
    'what a model costs is a row of `prices`, per million tokens: {model: "gpt-4o", input: "2.50",'
    ' output: "10"}'
)
_SECRET = "write secret, or secret_sha256 as `tollkeeper key hash` prints it"
_ONCE = (
    "a request is sent once and never retried, so there is nothing to set; clients try again by"
    " themselves"
)

# Our own words. In a block that does not know them they are in the wrong place.
OURS = frozenset({"base_url", "api_key"})
# Keys of ours that have another name by now.
_RENAMED = {
    ("", "drains"): "it is called after_client_left now; `drain` is about stopping the process"
}
# Without case and separators. The first word of each line is how it is met most.
_MEANT: dict[str, str] = {
    word: advice
    for words, advice in {
        "max_budget budget soft_budget budget_limit monthly_budget spend_limit": _BUDGET,
        "max_spend usage_limit budget_duration budget_reset_at budget_limits": _BUDGET,
        "rpm rpm_limit max_rpm requests_per_minute rate_limit_rpm": (
            'write it as a limit: limits: ["60 requests/minute"]'
        ),
        "tpm tpm_limit max_tpm tokens_per_minute rate_limit_tpm": (
            'write it as a limit: limits: ["100_000 tokens/minute"]'
        ),
        "rps rps_limit requests_per_second": 'write it as a limit: limits: ["5 requests/second"]',
        "rpd rpd_limit requests_per_day tpd tpd_limit tokens_per_day": (
            'write it as a limit: limits: ["1000 requests/day", "2_000_000 tokens/day"]'
        ),
        "max_parallel_requests concurrency max_concurrency max_concurrent": (
            'write it as a limit: limits: ["8 concurrent"]'
        ),
        "max_concurrent_requests parallel_requests concurrent": (
            'write it as a limit: limits: ["8 concurrent"]'
        ),
        "quota quotas limit rate_limit rate_limits ratelimit throttle usage_limits": _LIMITS,
        "model_max_budget model_rpm_limit model_tpm_limit": (
            'a limit may name its models: limits: ["100 USD/month for gpt-*"]'
        ),
        "model_list models_list providers provider backends services channels": _UPSTREAMS,
        "litellm_params endpoints": _UPSTREAMS,
        "models model model_name model_mapping aliases model_group_alias": (
            'which model goes where is a row of `routes`: {model: "gpt-*", upstream: NAME}'
        ),
        "general_settings litellm_settings router_settings settings": (
            "its parts stand at the top level here, such as timeouts, limits and log"
        ),
        "api_base base url baseurl openai_api_base endpoint target host upstream_url": (
            "write base_url, with the vendor's /v1"
        ),
        "apikey key token access_key credential openai_api_key": (
            'write api_key: "${NAME}", or api_key_file'
        ),
        "master_key admin_key admin_token": (
            'the admin API has tokens: admin: {tokens: {ops: {token: "${TOLLKEEPER_ADMIN_TOKEN}",'
            " role: admin}}}"
        ),
        "virtual_keys api_keys users consumers clients tokens": (
            'callers are `keys`: {alice: {team: research, secret: "${ALICE_KEY}"}}'
        ),
        "organizations orgs tenants groups projects departments": (
            'who pays are `teams`: {research: {labels: {cost_center: "4711"}}}'
        ),
        "team_id team_alias team_name org_id organization_id": (
            "write team: NAME, with NAME in `teams`"
        ),
        "name id alias key_alias key_name username": _NAMES,
        "virtual_key hashed_key hashed_token key_hash api_key_hash password": _SECRET,
        "allowed_models model_access access_groups model_whitelist allowed_model_names": (
            'write models: ["gpt-*"], of a key'
        ),
        "expiry expires_at expiration duration ttl valid_until expiration_date": (
            "write expires: 2027-01-01"
        ),
        "enabled disabled blocked active status": (
            "an empty secret disables a key; an upstream that no route names is not used"
        ),
        "metadata tags tag attributes": 'write labels: {cost_center: "4711"}',
        "input_cost_per_token output_cost_per_token input_cost_per_million_tokens": _PRICES,
        "input_price output_price prompt_price completion_price price cost pricing": _PRICES,
        "costs prompt completion input_cost output_cost model_info base_model": _PRICES,
        "cache_read_input_token_cost cache_read cached_input cache_hit input_cached": (
            'write cached: "0.028", per million tokens'
        ),
        "cache_creation_input_token_cost cache_creation cache_write_5m": (
            'write cache_write: "3.75", per million tokens'
        ),
        "cache_write_1h cache_creation_input_token_cost_above_1hr cache_creation_1h": (
            'write cache_write_long: "6", per million tokens'
        ),
        "web_search search_price searches": 'write search: "0.01", per search',
        "margin surcharge fee uplift": 'write markup: "0.05" for 5 %, of a team',
        "num_retries retries max_retries retry_policy allowed_fails cooldown_time": _ONCE,
        "retry_after enable_retries fallbacks default_fallbacks": _ONCE,
        "context_window_fallbacks": _ONCE,
        "routing_strategy strategy load_balancing loadbalance weight weights priority order": (
            "the first row of `routes` that matches decides; there is no balancing"
        ),
        "cache caching cache_params semantic_cache redis redis_url redis_host": (
            "answers are not cached; leave it out"
        ),
        "database_url database db db_url store": (
            'the ledger is a file of its own: ledger: {url: "sqlite:ledger.db"}'
        ),
        "port bind address listen_addr listen_address server": "write listen: 127.0.0.1:8790",
        "timeout request_timeout stream_timeout read_timeout connect_timeout": (
            "write timeouts: {connect: 10s, first_byte: 10m, idle: 10m, total: 1h}"
        ),
        "ssl_verify verify_ssl verify insecure tls_skip_verify insecure_skip_verify": (
            "certificates are always checked; name your own authority with ca_file"
        ),
        "http_proxy https_proxy proxies proxy_url": "write proxy: http://host:port, of an upstream",
        "custom_headers extra_headers default_headers": (
            "write headers: {x-title: our-company}, of an upstream"
        ),
        "api_version": 'write query: {api-version: "2026-01-01"}, of an upstream',
        "organization project": "write headers: {openai-organization: …}, of an upstream",
        "callbacks success_callback failure_callback logging set_verbose log_level": (
            "write log: {format: json, requests: all}; figures are in metrics"
        ),
        "debug json_logs": ("write log: {format: json, requests: all}; figures are in metrics"),
        "prometheus metrics_port metrics_path": "write metrics: {listen: 127.0.0.1:9464}",
        "environment_variables env": (
            'values are taken from the environment where they stand: api_key: "${NAME}"'
        ),
        "exchange_rates exchange_rate currency_rates rates": (
            'write fx: {CNY: [{rate: "0.14", from: 2026-01-01}]}'
        ),
        "tz time_zone": "write timezone: Asia/Shanghai",
        "mode action": "write enforce: warn | finish | cut | strict",
        "period window interval reset duration_days amount unit": (
            'a limit is one text: "500 USD/month"'
        ),
        "alert_at alerts warning_threshold thresholds notify_at": (
            "write warn_at: [80%, 95%], of a limit written as a mapping"
        ),
    }.items()
    for word in words.split()
}
_FLAT = {re.sub(r"[^a-z0-9]", "", word): advice for word, advice in _MEANT.items()}
# Where a word that is right elsewhere stands in the wrong block.
_IN = {
    ("teams", "models"): (
        'models are allowed key by key: keys: {alice: {team: NAME, models: ["gpt-*"]}}; a team may'
        " have a limit `… for gpt-*`"
    ),
    ("teams", "keys"): "keys stand in `keys`, and each names its team",
    ("teams", "members"): "keys stand in `keys`, and each names its team",
    ("upstreams", "models"): "which models go to an upstream is said in `routes`",
    ("upstreams", "model"): "which models go to an upstream is said in `routes`",
    ("upstreams", "price"): _PRICES,
    ("upstreams", "prices"): (
        'a row of `prices` names its upstream: {model: "gpt-4o", upstream: NAME, input: "2.50",'
        ' output: "10"}'
    ),
    ("keys", "upstream"): "which model goes to which upstream is said in `routes`",
    ("keys", "api_key"): _SECRET,
    ("keys", "key"): _SECRET,
    ("keys", "token"): _SECRET,
    ("keys", "role"): "roles are those of the admin API: admin: {tokens: …}",
}


def renamed(path: str, name: str) -> str | None:
    """What an earlier key of ours is called now, or None."""
    return _RENAMED.get((path, name))


def meant(path: str, name: str) -> str | None:
    """What to write instead of an unknown key, if it is another gateway's word.

    `path` is that of the block around the key.
    """
    block = re.split(r"[.\[]", path, maxsplit=1)[0]
    if advice := _IN.get((block, name.lower())):
        return advice
    return _UPSTREAMS if name in OURS else _FLAT.get(re.sub(r"[^a-z0-9]", "", name.lower()))
