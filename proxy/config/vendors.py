"""What public vendors document of their API's path, and roughly what a currency is worth.

Used for warnings alone.
"""

from __future__ import annotations

import ipaddress
import math
from decimal import Decimal
from urllib.parse import urlsplit

# Host (or the end of one) -> the paths that serve its chat completions; the first is the one to
# suggest.
_PATHS: dict[str, tuple[str, ...]] = {
    "api.openai.com": ("/v1",),
    "api.modelmax.io": ("/v1",),
    "api.modelverse.cn": ("/v1",),
    "api000.com": ("/v1",),
    "www.sky-ze.com": ("/v1",),
    "api.deepseek.com": ("/v1", "", "/beta"),
    "api.mistral.ai": ("/v1",),
    "api.groq.com": ("/openai/v1",),
    "openrouter.ai": ("/api/v1",),
    "api.together.xyz": ("/v1",),
    "api.fireworks.ai": ("/inference/v1",),
    "generativelanguage.googleapis.com": ("/v1beta/openai",),
    "dashscope.aliyuncs.com": ("/compatible-mode/v1",),
    "dashscope-intl.aliyuncs.com": ("/compatible-mode/v1",),
    "api.moonshot.cn": ("/v1",),
    "api.moonshot.ai": ("/v1",),
    "open.bigmodel.cn": ("/api/paas/v4", "/api/coding/paas/v4"),
    "api.z.ai": ("/api/paas/v4", "/api/coding/paas/v4"),
    "ark.cn-beijing.volces.com": ("/api/v3", "/api/coding/v3"),
    "api.siliconflow.cn": ("/v1",),
    "api.siliconflow.com": ("/v1",),
    "api.x.ai": ("/v1",),
    "api.perplexity.ai": ("", "/v1"),
    "api.cohere.ai": ("/compatibility/v1",),
    "api.cohere.com": ("/compatibility/v1",),
    "api.anthropic.com": ("/v1",),
    "api.minimax.io": ("/v1",),
    "api.minimaxi.com": ("/v1",),
    "api.cerebras.ai": ("/v1",),
    "integrate.api.nvidia.com": ("/v1",),
    "api.sambanova.ai": ("/v1",),
    "api.deepinfra.com": ("/v1/openai",),
    "router.huggingface.co": ("/v1",),
    "models.github.ai": ("/inference",),
    "qianfan.baidubce.com": ("/v2",),
    "api.hunyuan.cloud.tencent.com": ("/v1",),
    "api.stepfun.com": ("/v1",),
    "api.baichuan-ai.com": ("/v1",),
    "api.lingyiwanwu.com": ("/v1",),
    "gateway.ai.cloudflare.com": (),
    "api.studio.nebius.com": ("/v1",),
    "api.novita.ai": ("/openai", "/v3/openai", "/openai/v1"),
}
# Units of USD for one of the currency, roughly (2025); far enough apart from 1 to tell a rate from
# its inverse.
_IN_USD = {
    "USD": "1",
    "EUR": "1.1",
    "GBP": "1.3",
    "CHF": "1.2",
    "CNY": "0.14",
    "JPY": "0.0067",
    "KRW": "0.00072",
    "INR": "0.0118",
    "HKD": "0.128",
    "TWD": "0.031",
    "SGD": "0.76",
    "AUD": "0.65",
    "CAD": "0.73",
    "NZD": "0.59",
    "BRL": "0.18",
    "MXN": "0.053",
    "RUB": "0.012",
    "TRY": "0.025",
    "PLN": "0.27",
    "CZK": "0.046",
    "SEK": "0.1",
    "NOK": "0.095",
    "DKK": "0.15",
    "THB": "0.03",
    "IDR": "0.000061",
    "VND": "0.000039",
    "PHP": "0.0175",
    "MYR": "0.23",
    "ZAR": "0.055",
    "ILS": "0.28",
    "AED": "0.272",
    "SAR": "0.267",
    "UAH": "0.024",
    "HUF": "0.0028",
}
_FAR_OFF = 8.0  # times; no currency of the list moves so far in the life of a config


def path_advice(base_url: str) -> str | None:
    """What is missing in a base URL, or None."""
    parts = urlsplit(base_url)
    host, path = (parts.hostname or "").lower(), parts.path.rstrip("/")
    known = _PATHS.get(host)
    if known is None and host.endswith(".openai.azure.com"):
        known = () if path.startswith("/openai/") else ("/openai/v1",)
    if known is not None:
        if (
            not known
            or path in known
            or any(option and path.startswith(f"{option}/") for option in known)
        ):
            return None
        return f"this vendor's API is at {parts.scheme}://{parts.netloc}{known[0]}"
    if "/v1/v1" in f"{path}/":
        return "has /v1 twice"
    if not path:
        return f"has no path, and nearly every vendor's ends in /v1: {base_url}/v1"
    return None


def in_the_clear(base_url: str) -> bool:
    """Whether the key would cross the public network unencrypted."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    if parts.scheme != "http":
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(
            (
                ".internal",
                ".local",
                ".localhost",
                ".lan",
                ".home",
                ".corp",
                ".svc",
                ".cluster.local",
                ".test",
                ".example",
            )
        )


def rate_advice(foreign: str, own: str, rate: str) -> str | None:
    """What is odd about `1 foreign = rate own`, or None."""
    if foreign not in _IN_USD or own not in _IN_USD or not Decimal(rate):
        return None
    usual = Decimal(_IN_USD[foreign]) / Decimal(_IN_USD[own])
    off = abs(math.log(Decimal(rate) / usual))
    off_inverse = abs(math.log(Decimal(rate) * usual))
    about = f"1 {foreign} was about {usual:.2g} {own} in 2025"
    if off > math.log(3) and off_inverse < off / 2:
        return f"says that 1 {foreign} is {rate} {own}, which is upside down: {about}"
    if off > math.log(_FAR_OFF):
        return f"says that 1 {foreign} is {rate} {own}: {about}"
    return None
