"""Other gateways' words get ours."""

from __future__ import annotations

import pytest

from proxy.config.words import meant


@pytest.mark.parametrize(
    ("path", "name", "says"),
    [
        ("", "model_list", "upstreams"), ("", "litellm_settings", "top level"), ("", "general_settings", "top level"), ("", "providers", "routes"),
        ("upstreams.v", "api_base", "base_url"), ("upstreams.v", "baseURL", "base_url"), ("upstreams.v", "apiKey", "api_key"), ("upstreams.v", "models", "routes"),
        ("teams.r", "max_budget", "500 USD/month"), ("teams.r", "budget_duration", "500 USD/month"), ("teams.r", "models", "keys"),
        ("keys.a", "rpm_limit", "60 requests/minute"), ("keys.a", "tpm", "100_000 tokens/minute"), ("keys.a", "max_parallel_requests", "8 concurrent"),
        ("keys.a", "duration", "expires"), ("keys.a", "team_id", "team"), ("keys.a", "metadata", "labels"), ("keys.a", "key_alias", "alice"),
        ("", "master_key", "admin"), ("", "virtual_keys", "keys"), ("", "redis_url", "not cached"), ("", "database_url", "sqlite"), ("", "num_retries", "sent once"),
        ("prices[0]", "input_cost_per_token", "per million"), ("prices[0]", "cache_read_input_token_cost", "cached"), ("", "port", "listen"),
        ("upstreams.v", "ssl_verify", "ca_file"), ("upstreams.v", "https_proxy", "proxy"), ("upstreams.v", "api_version", "query"), ("", "exchange_rates", "fx"),
        ("", "base_url", "`upstreams` (base_url"), ("teams.r", "api_key", "`upstreams` (base_url"), ("routes[0]", "base_url", "`upstreams` (base_url"),
        ("keys.a", "api_key", "secret_sha256"), ("keys.a", "key", "secret_sha256"), ("keys.a", "token", "secret_sha256"),
        ("routes[0]", "fallbacks", "sent once"), ("", "environment_variables", "environment"),
    ],
)  # fmt: skip
def test_a_word_of_another_gateway_gets_ours(path: str, name: str, says: str) -> None:
    advice = meant(path, name)
    assert advice is not None and says in advice


def test_other_words_get_none() -> None:
    assert meant("keys.a", "secrett") is None
