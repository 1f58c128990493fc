"""Which names of a request choose where it goes: header fields and body members.

Gateways and frameworks act on them. A request passes as it came, so this is a list of what does not
pass. It goes by the words in a name, because every gateway has names of its own:
`Helicone-Target-URL`, `x-portkey-custom-host`, `x-ai-eg-routing-plan`, `X-HTTP-Method-Override`.
"""

from __future__ import annotations

import re

# Words that say where a request goes, as what, and on whose account.
_PLACES = (
    "url uri host target base path prefix upstream provider backend endpoint destination dest dst"
    " redirect proxy region scheme script pathname basepath server service cluster instance"
)
_CHOICES = (
    "override rewrite original forward fallback method config route router routing deployment model"
    " middleware engine vendor adapter lora tag"
)
# On whose account, and at which price: Hugging Face's `X-HF-Bill-To`, Bedrock's
# `X-Amzn-Bedrock-Service-Tier`.
_ACCOUNTS = "organization project tenant bill billing impersonate sudo tier performanceconfig"
# Whole families: Bifrost's `x-bf-eh-…` reaches the vendor without its prefix and `x-bf-vk` chooses
# a key; Dapr's and Linkerd's name the service to call; Vertex AI's say as which kind of traffic a
# request is billed.
_FAMILIES = (b"x-bf-", b"dapr-", b"l5d-", b"x-vertex-ai-llm-")
# Words that say who asks. Under `auth: forward` these are the caller's own and pass.
_CREDENTIALS = (
    "api-key apikey key auth authorization authentication token secret password credential"
)

# A long word counts wherever a part of the name begins or ends with it (`baseurl`, `hostname`,
# `forwarded`): that is how names are made of words. A short one would be found by chance, so the
# part has to be the word itself, or its plural.
_SHORT = frozenset(
    "base dest dst path proxy auth key token region scheme method config model route router project"
    " secret script server service cluster instance engine vendor adapter lora tag tenant bill"
    " billing sudo tier".split()
)

# Names that hold such a word and steer nothing. Each is here because a client sends it or a vendor
# reads it.
HARMLESS_HEADERS = frozenset(
    {
        # the same request again: SDKs send it with each retry
        b"idempotency-key",
        b"x-idempotency-key",
        b"x-stainless-helper-method",  # which helper of an official SDK is asking
        # how the Codex command line names its session: the underscores are its own
        b"session_id",
        b"conversation_id",
        # what a browser says of each request; the nonce of a handshake
        b"sec-fetch-dest",
        b"sec-websocket-key",
        b"x-wait-for-model",  # Hugging Face: wait while the model is loaded
    }
)

# `request_headers: listed` lets through these alone: the body's form, who the client is, traces,
# retries, and vendors' own switches.
LISTED_HEADERS = HARMLESS_HEADERS | {
    b"user-agent",
    b"traceparent",
    b"tracestate",
    b"baggage",
    b"b3",
    b"sentry-trace",
    b"x-request-id",
    b"x-client-request-id",
    b"via",
    b"http-referer",
    b"referer",
    b"x-title",
    b"x-app",
    b"originator",
}
LISTED_PREFIXES = (
    b"accept",
    b"content-",
    b"x-stainless-",
    b"openai-",
    b"anthropic-",
    b"x-b3-",
    b"x-datadog-",
    b"x-openrouter-",
)

# Members that choose a model, a vendor, a host or a key, by the name of who reads them:
# OpenRouter's, then LiteLLM's and others'.
STEERING_FIELDS = frozenset(
    {
        "models",
        "provider",
        "route",
        "plugins",
        "preset",
        "fallbacks",
        "model_list",
        "api_base",
        "base_url",
        "api_key",
        "custom_llm_provider",
        "user_config",
        "deployment_id",
        "extra_headers",
        "headers",
        "organization",
    }
)
_FIELDS = frozenset(re.sub(r"[^a-z]", "", name) for name in STEERING_FIELDS)
_IN_FIELDS = re.compile(
    "fallback|apibase|baseurl|apikey|modellist|provider|credential|accesskey|sessiontoken|adtoken"
    "|rolename|stsendpoint|runtimeendpoint"
)
# SGLang's bootstrap_host, for one.
_HOST_FIELD = re.compile(
    "(?:bootstrap|remote|target|api|server|upstream)(?:host|port|endpoint|url|uri)"
)

# `router_model`, `model_id`, `deploymentName`; an engine is what a model was called once.
_OTHER_MODEL = re.compile(
    "[a-z]+models?|[a-z]*model(?:name|id|group|alias|override)s?|engines?"
    "|[a-z]*deployment(?:name|id)?s?|[a-z]*endpoint"
)
# LiteLLM's parameters of a deployment: whose cloud account, where, at which price; `litellm_params`
# holds them all.
_DEPLOYMENT = re.compile(
    "(?:vertex|aws|azure|watsonx|sagemaker|bedrock)[a-z]+"
    "|litellmparams(?:template)?|modelinfo|virtualkey|[a-z]+costper[a-z]+"
)

# What nearly every request is made of, so that the words are looked for in the others only.
_USUAL_FIELDS = frozenset(
    "model messages stream stream_options temperature top_p n max_tokens max_completion_tokens"
    " tools tool_choice parallel_tool_calls user stop seed response_format reasoning_effort"
    " presence_penalty frequency_penalty logprobs metadata store prompt input encoding_format"
    " extra_body".split()
)

_NOT_LETTERS = re.compile(r"[\W_]+")
# As a query would spell them.
_MEMBERS = frozenset(
    _NOT_LETTERS.sub("", name)
    for name in (*_USUAL_FIELDS, *"best_of max_output_tokens service_tier speed echo".split())
)
_ODD_IN_HEADER = re.compile(rb"[^a-z0-9-]")


def steers(name: bytes) -> bool:
    """Whether a header field (named in lower case) can choose where a request goes, or as what."""
    return name not in HARMLESS_HEADERS and (
        name.startswith(_FAMILIES)
        or _ODD_IN_HEADER.search(name) is not None
        or _STEERS.search(name) is not None
    )


def tells_a_key(name: bytes) -> bool:
    """Whether a header field (named in lower case) says who asks, in any gateway's words."""
    return name not in HARMLESS_HEADERS and _TELLS.search(name) is not None


def steering_field(name: str) -> bool:
    """Whether a member of this name chooses a host, a key or another model than `model` says. Case
    and separators do not matter."""
    if name in _USUAL_FIELDS:
        return False
    flat = _NOT_LETTERS.sub("", name.casefold())
    return (
        flat in _FIELDS
        or _IN_FIELDS.search(flat) is not None
        or any(names.fullmatch(flat) for names in (_HOST_FIELD, _OTHER_MODEL, _DEPLOYMENT))
    )


def steering_parameter(name: str) -> bool:
    """Whether a query parameter (in lower case) may stand for a member of the body, or steers.

    It steers where it chooses where the request goes, as what, or who asks. LiteLLM takes `?model=`
    before the body's, and frameworks take `?_method=` for the method.
    """
    flat = _NOT_LETTERS.sub("", name)
    dashed = _NOT_LETTERS.sub("-", name).encode("utf-8", "replace")
    return (
        flat in _MEMBERS
        or steering_field(name)
        or _STEERS.search(dashed) is not None
        or _TELLS.search(dashed) is not None
    )


def names_a_model(name: str) -> bool:
    """Whether a member of this name can name a model, or the host to ask for it.

    It stands in a tool, or in another member that is no text.
    """
    flat = _NOT_LETTERS.sub("", name.casefold())
    return (
        flat in ("model", "models")
        or _IN_FIELDS.search(flat) is not None
        or _OTHER_MODEL.fullmatch(flat) is not None
    )


def _words(*groups: str) -> re.Pattern[bytes]:
    """Matches a part of a name, between dashes, that is one of the words.

    A part that begins or ends with one of the long ones matches too.
    """
    words = " ".join(groups).split()
    short = "|".join(word for word in words if word in _SHORT)
    long = "|".join(word for word in words if word not in _SHORT)
    return re.compile(
        rf"(?:^|-)(?:(?:{short})s?(?:-|$)|(?:{long})|[a-z0-9]*(?:{long})s?(?:-|$))".encode()
    )


_STEERS = _words(_PLACES, _CHOICES, _ACCOUNTS)
_TELLS = _words(_CREDENTIALS)
