"""What starts and is hardly ever meant is told: one row a kind of mistake, and a config without one
has nothing to be told."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from proxy.config.loader import ConfigError, load

SECRET = "q7Zt3Kx9vB2mW5cR8nYd"
GOOD: dict[str, object] = {
    "upstreams": {"v": {"base_url": "https://api.openai.com/v1", "api_key": "sk-proj-Zq81mZ"}},
    "routes": [{"model": "gpt-*", "upstream": "v"}],
    "teams": {"r": {"markup": "0.05", "limits": ["500 USD/month for gpt-*"]}},
    "keys": {"a": {"team": "r", "secret": SECRET, "models": ["gpt-4o*"]}},
    "prices": [{"model": "gpt-4o", "input": "2.50", "cached": "1.25", "output": "10"}],
    "fx": {"CNY": [{"rate": "0.14"}]},
}


def told(tmp_path: Path, **changes: object) -> list[str]:
    """What is told of GOOD with some of its values changed: `upstreams__v__base_url="…"`."""
    config = copy.deepcopy(GOOD)
    for path, value in changes.items():
        block: object = config
        *way, last = path.split("__")
        for name in way:
            assert isinstance(block, dict)
            block = block[name]
        assert isinstance(block, dict)
        block[last] = value
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    try:
        return list(load(file, {}).warnings)
    except ConfigError as error:
        return list(error.messages)


@pytest.mark.parametrize(
    "beside",
    [
        {"limits": ["9 requests/day"]},
        {"teams__r__limits": ["9 requests/day per end_user", "5 USD/day"]},
        {"teams__r__limits": ["5 USD/day"], "keys__a__limits": ["9 requests/day per end_user"]},
    ],
)
def test_a_limit_per_value_with_one_beside_it_is_no_mistake(
    tmp_path: Path, beside: dict[str, object]
) -> None:
    changes = {"teams__r__limits": ["9 requests/day per end_user"], **beside}
    assert not [line for line in told(tmp_path, **changes) if "as a whole" in line]


def test_a_config_without_mistakes_has_nothing_to_be_told(tmp_path: Path) -> None:
    assert told(tmp_path) == []


MISTAKES: list[tuple[dict[str, object], str]] = [
    ({"teams__r__markup": "5"}, 'teams.r.markup: 5 is a share, which adds 500 % to the cost; 5 % is written "0.05"'),
    ({"teams__r__markup": [{"rate": "0.05"}, {"rate": "15", "from": "2026-12-01"}]}, '15 % is written "0.15"'),
    ({"teams__r__markup": [{"rate": "0.05", "from": "2999-01-01"}]}, "teams.r.markup: every row begins later, so until then it is 0"),
    ({"upstreams__v__discount": "0.95"}, "takes 95 % off the price"),
    ({"upstreams__v__base_url": "https://api.openai.com"}, "this vendor's API is at https://api.openai.com/v1"),
    ({"upstreams__v__base_url": "https://api.groq.com/v1"}, "https://api.groq.com/openai/v1"),
    ({"upstreams__v__base_url": "https://openrouter.ai/v1"}, "https://openrouter.ai/api/v1"),
    ({"upstreams__v__base_url": "https://x.openai.azure.com"}, "https://x.openai.azure.com/openai/v1"),
    ({"upstreams__v__base_url": "http://gpu-1:8000"}, "has no path, and nearly every vendor's ends in /v1: http://gpu-1:8000/v1"),
    ({"upstreams__v__base_url": "https://h.example.com/v1/v1"}, "has /v1 twice"),
    ({"upstreams__v__base_url": "http://api.vendor.io/v1"}, "in the clear; write https"),
    ({"upstreams__v__base_url": "http://localhost:8790/v1"}, "is this proxy itself (listen: 127.0.0.1:8790)"),
    ({"upstreams__v__base_url": "https://api.openai.com/v1/responses"}, "expected the part before /responses"),
    ({"upstreams__v__api_key": "os.environ/OPENAI_API_KEY"}, 'write "${OPENAI_API_KEY}"'),
    ({"upstreams__v__api_key": "{{ OPENAI_API_KEY }}"}, "has no blanks"),
    ({"upstreams__v__api_key": "Bearer sk-abc"}, "leave out the word Bearer"),
    ({"upstreams__v__api_key": "'sk-abc'"}, "holds the quotation marks around it"),
    ({"upstreams__v__api_key": "https://api.openai.com/v1"}, "is a URL"),
    ({"upstreams__v__api_key": "your-api-key"}, "is a placeholder"),
    ({"keys__a__secret": "sk-1234"}, "is shorter than 20 characters, so it can be guessed"),
    ({"keys__a__secret": "changeme-changeme-changeme"}, "keys.a.secret is made of words, repetitions or sequences"),
    ({"keys__a__secret": "sk-proj-Zq81mZ"}, "is upstreams.v.api_key"),
    ({"keys__a__team": None}, "keys: a name no team"),
    ({"teams__r__limits": ["9 requests/day per end_user"]}, "counts each value apart, and callers choose the values: nothing bounds team r as a whole"),
    ({"keys__a__expires": "2020-01-01"}, "is past (2020-01-01): the key is refused"),
    ({"keys__a__models": ["claude-*"]}, "keys.a.models: no route leads to a model like claude-*, so it never holds"),
    ({"teams__r__limits": ["5 USD/day for o1-*"]}, "no route leads to a model like o1-*"),
    ({"prices": [{"model": "gtp-4o", "input": "1", "output": "2"}, {"model": "gpt-4o", "input": "1", "output": "2"}]}, "prices[0]: no route leads to a model like gtp-4o"),
    ({"routes": [{"model": "gpt-.*", "upstream": "v"}]}, "routes[0]: gpt-.* looks like a regular expression"),
    ({"prices": [{"model": "gpt-4o", "input": "0.0000025", "output": "0.00001"}]}, 'which looks like the price of one; write "2.5"'),
    ({"prices": [{"model": "gpt-4o", "input": "2500000", "output": "10000000"}]}, "prices are per million"),
    ({"prices": [{"model": "gpt-4o", "input": "10", "output": "2.50"}]}, "input costs more than output"),
    ({"prices": [{"model": "gpt-4o", "input": "2", "cached": "2.50", "output": "10"}]}, "cached input costs more than plain input"),
    ({"prices": [{"model": "gpt-4o", "input": "2", "output": "10", "from": "2999-01-01"}]}, "prices of gpt-4o begin on 2999-01-01 at the earliest"),
    ({"fx": {"CNY": [{"rate": "7.1"}]}}, "1 CNY is 7.1 USD, which is upside down"),
    ({"fx": {"CNY": [{"rate": "0.0014"}]}}, "1 CNY was about 0.14 USD in 2025"),
    ({"fx": {"CNY": [{"rate": "0.14", "from": "2999-01-01"}]}}, "every rate begins later"),
    ({"prices": []}, "counts money and nothing has a price"),
    ({"timeouts": {"total": "1m"}}, "timeouts.first_byte is longer than total"),
    ({"timezone": "Beijing"}, "write Asia/Shanghai"),
    ({"timezone": "UTC+8"}, "Etc/GMT-8"),
    ({"timezone": "San Francisco"}, "write America/Los_Angeles"),
    ({"timezone": "Etc/GMT+8"}, "is 8 hours behind UTC"),
    ({"admin": {"tokens": {"ops": {"token": "hunter2hunter2hunter2"}}}}, "admin.tokens.ops.token: repeats itself, so it can be guessed"),
    ({"admin": {"trusted_header": "x-auth-user"}}, "admin.trusted_header: anybody could send it; name the addresses of the server in front"),
    ({"admin": {"trusted_header": "cookie", "trusted_from": ["10.0.0.5"]}}, "admin.trusted_header: every browser sends it"),
    ({"admin": {"trusted_header": "authorization", "trusted_from": ["10.0.0.5"]}}, "admin.trusted_header: every browser sends it"),
    ({"admin": {"trusted_header": "x-auth-user", "trusted_from": ["10.0.0.5", "0.0.0.0/0"]}}, "admin.trusted_from[1]: is every address, so that anybody could say who they are"),
    ({"admin": {"trusted_from": ["10.0.0.5"]}}, "admin.trusted_from: holds only with admin.trusted_header"),
    ({"admin": {"trusted_admins": ["ann"]}}, "admin.trusted_admins: holds only with admin.trusted_header"),
    ({"admin": {"oidc": {"issuer": "http://login.example.com", "client_id": "a", "client_secret": "9Qm2ZtW8rLx2PbNc7HsD", "redirect": "https://g.example.com/ui/oidc"}}}, "admin.oidc.issuer: expected https://…, or http:// to a private host"),
    ({"admin": {"oidc": {"issuer": "https://login.example.com", "client_id": "a", "client_secret": "9Qm2ZtW8rLx2PbNc7HsD", "redirect": "https://g.example.com/"}}}, "admin.oidc.redirect: has to end with /ui/oidc"),
    ({"admin": {"oidc": {"issuer": "https://login.example.com", "redirect": "https://g.example.com/ui/oidc"}}}, "admin.oidc.client_id: is empty"),
    ({"limits": ["500 usd/month"]}, "a currency is written with its code: USD"),
    ({"limits": ["60 request/min"]}, "nearest known one is requests (or a currency code such as USD); no such period; the nearest known one is minute"),
    ({"limits": ["$500/month"]}, "the currency stands behind the amount"),
    ({"limits": ["60 requests per minute"]}, "write / for per"),
    ({"limits": ["100k tokens/minute"]}, "write the amount out: 100_000"),
    ({"limits": ["60 rpm"]}, 'write "60 requests/minute"'),
    ({"limits": "60 requests/minute"}, 'expected a list; write [one, two] or one `- item` a line, such as ["60 requests/minute"]'),
    ({"limits": [{"limit": "5 USD/day", "warn_at": [80]}]}, "write a share with its sign, such as 80%"),
    ({"limits": [{"limit": "5 USD/day", "warn_at": [0.8]}]}, "such as 80%"),
    ({"teams__r__max_budget": 50}, 'teams.r.max_budget: unknown key; a budget is a limit that names its period: limits: ["500 USD/month"]'),
    ({"upstreams__v__api_base": "https://h/v1"}, "upstreams.v.api_base: unknown key; write base_url"),
    ({"model_list": []}, "model_list: unknown key; vendors are `upstreams`"),
    # says nothing of base_url and api_key, which are right
    ({"upstream": {"v": {"base_url": "https://h/v1", "api_key": "k"}}}, "upstream"),
    ({"litellm_settings": {"max_budget": 100}}, "litellm_settings.max_budget: a budget is a limit that names its period"),
    ({"model_list": [{"litellm_params": {"api_base": "h"}}]}, "model_list[0].litellm_params.api_base: write base_url"),
    ({"keys__sk-abc123": {"team": "r", "secret": SECRET + "x"}}, "keys: sk-abc… looks like a key itself"),
    ({"fx__CNY": "7.1"}, 'such as [{rate: "0.14", from: 2026-01-01}]'),
    ({"keys__a__models": "gpt-*"}, 'such as ["gpt-*"]'),
    ({"keys__a__expires": "never"}, "what is never to end has none"),
    ({"keys": [{"name": "a"}]}, "write `alice: {…}` instead of `- name: alice`"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "says"), MISTAKES, ids=[says[:40] for _, says in MISTAKES])
def test_a_mistake_is_told_with_what_to_write(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    found = [text for text in told(tmp_path, **changes) if says in text]
    assert len(found) == 1, told(tmp_path, **changes)


@pytest.mark.parametrize("changes", [
    {"upstreams__v__base_url": "https://api.deepseek.com"},
    {"upstreams__v__base_url": "https://api.perplexity.ai"},
    {"upstreams__v__base_url": "https://x.openai.azure.com/openai/deployments/gpt-4o"},
    {"upstreams__v__base_url": "http://vllm.models.svc.cluster.local:8000/v1"},
    {"upstreams__v__base_url": "http://10.1.2.3:8000/v1"},
    {"upstreams__v__base_url": "http://localhost:11434/v1"},
    {"fx": {"EUR": [{"rate": "0.9"}], "XAU": [{"rate": "3000"}]}},
    {"prices": [{"model": "gpt-4o", "input": "2", "output": "10", "from": "2999-01-01"}, {"model": "gpt-4o", "input": "1", "output": "5"}]},
    {"prices": [{"model": "gpt-4o", "input": "2", "output": "10", "from": "2999-01-01"}, {"model": "gpt-*", "input": "1", "output": "5"}]},
    {"prices": [{"model": "gpt-embed", "input": "0.02", "output": "0"}]},
    {"teams": {}, "keys": {"a": {"secret": SECRET}}},
    {"timezone": "Asia/Shanghai"},
])  # fmt: skip
def test_what_only_looks_odd_is_left_alone(tmp_path: Path, changes: dict[str, object]) -> None:
    assert told(tmp_path, **changes) == []
