"""Names that steer, and names that only look like it. Each row stands in the documentation or the
code of a client, a gateway or a framework."""

from __future__ import annotations

import pytest

from proxy.core.steering import (
    STEERING_FIELDS,
    steering_field,
    steering_parameter,
    steers,
    tells_a_key,
)

# Gateways: Helicone, Portkey, Envoy, Lunar, Vercel, LiteLLM, SGLang, Azure, AWS. Frameworks: IIS,
# Symfony, Rails, Next.js, WSGI and CGI.
STEERING = """
    helicone-target-url helicone-target-provider helicone-openai-api-base helicone-fallbacks helicone-model-override
    x-portkey-custom-host x-portkey-provider x-portkey-config x-portkey-forward-headers x-portkey-azure-deployment-id x-portkey-vertex-region
    x-ai-eg-model x-ai-eg-routing-plan x-gateway-destination-endpoint x-envoy-original-path x-envoy-original-dst-host x-lunar-host x-lunar-scheme
    x-ai-gateway-provider x-openrouter-provider-order x-smg-target-worker x-smg-routing-key azureml-model-deployment x-ms-model-mesh-model-name x-amz-target
    x-original-url x-rewrite-url x-http-method-override x-http-method x-method-override x-original-host x-host x-waws-unencoded-url base-url
    x-baseurl x-targeturl x-hostname x-path-prefix x-script-name x-url-scheme x-backend x-upstream-host forwarded x-forwarded x-proxy-url destination
    x-middleware-subrequest x-middleware-rewrite openai-organization openai-project x-goog-user-project x-fallback-model
    x-hf-bill-to x-amzn-bedrock-service-tier x-amzn-bedrock-performanceconfig-latency x-vertex-ai-llm-shared-request-type x-bf-vk x-bf-eh-authorization
    dapr-app-id l5d-dtab fly-force-instance-id x-server x-service-name x-cluster x-tenant-id impersonate-user x-sudo x-litellm-tags x-llm-vendor x-engine
    transfer_encoding x_forwarded_for x_api_key content_length x.forwarded.host x!host
""".split()
KEYS = """
    authorization x-api-key api-key x-portkey-api-key x-portkey-virtual-key x-goog-api-key ocp-apim-subscription-key x-litellm-api-key helicone-auth
    x-auth-token x-amz-security-token x-apikey x-vault-token x-portkey-aws-secret-access-key x-authorization
""".split()
# The official SDKs of OpenAI and Anthropic, Codex, Claude Code, Copilot, browsers; OpenTelemetry,
# B3, Datadog, Sentry, X-Ray, Jaeger; vendors' own.
HARMLESS = """
    content-type content-length content-encoding content-language accept accept-encoding accept-language user-agent cache-control pragma date priority
    x-stainless-lang x-stainless-package-version x-stainless-os x-stainless-arch x-stainless-runtime x-stainless-runtime-version x-stainless-async
    x-stainless-retry-count x-stainless-read-timeout x-stainless-timeout x-stainless-raw-response x-stainless-helper-method x-stainless-poll-helper
    x-stainless-custom-poll-interval x-stainless-helper openai-beta openai-version openai-intent anthropic-version anthropic-beta
    anthropic-dangerous-direct-browser-access x-app originator session_id conversation_id chatgpt-account-id x-client-request-id x-request-id
    copilot-integration-id editor-version x-initiator copilot-vision-request x-github-api-version
    traceparent tracestate baggage b3 x-b3-traceid x-b3-spanid x-b3-sampled sentry-trace x-datadog-trace-id x-datadog-parent-id x-amzn-trace-id
    x-cloud-trace-context uber-trace-id x-correlation-id newrelic idempotency-key x-idempotency-key
    http-referer referer x-title x-openrouter-title x-openrouter-categories x-wait-for-model x-use-cache x-portkey-cache x-portkey-cache-namespace helicone-cache-enabled helicone-cache-seed cf-aig-cache-ttl
    x-dashscope-sse x-grok-conv-id
    helicone-user-id helicone-session-id x-goog-api-client x-end-user x-session-id x-security-policy
    origin sec-fetch-mode sec-fetch-site sec-fetch-dest sec-ch-ua sec-ch-ua-platform dnt x-requested-with if-none-match
""".split()  # fmt: skip


@pytest.mark.parametrize(
    ("names", "judge"), [(STEERING, steers), (KEYS, tells_a_key)], ids=["steering", "keys"]
)
def test_names_that_choose_are_known_by_their_words(names: list[str], judge) -> None:  # type: ignore[no-untyped-def]
    assert [name for name in names if not judge(name.encode())] == []


def test_what_clients_send_is_not_taken_for_it() -> None:
    assert [name for name in HARMLESS if steers(name.encode()) or tells_a_key(name.encode())] == []


STEERING_MEMBERS = """
    fallbacks context_window_fallbacks content_policy_fallbacks fallback_models FALLBACK apiBase baseURL API_KEY api-base providerOptions provider_options
    custom_llm_provider user_config model_list deployment_id azure_ad_token vertex_credentials aws_access_key_id aws_role_name aws_sts_endpoint
    aws_bedrock_runtime_endpoint bootstrap_host bootstrap_port litellm_credential_name
    engine model_id modelName router_model target_model deployment deployment_name azure_endpoint litellm_params litellm_params_template model_group
    vertex_project aws_region_name watsonx_url virtual_key model_info input_cost_per_token
""".split()
# OpenAI's own, then vLLM's, SGLang's, Qwen's, Mistral's, OpenRouter's and Gemini's.
HARMLESS_MEMBERS = """
    model messages stream stream_options n best_of max_tokens max_completion_tokens service_tier user metadata prompt_cache_key prompt_cache_retention
    safety_identifier prediction modalities audio store web_search_options response_format tools tool_choice parallel_tool_calls functions function_call
    input encoding_format dimensions verbosity reasoning_effort reasoning logprobs top_logprobs logit_bias seed stop temperature top_p presence_penalty
    frequency_penalty prompt suffix echo chat_template chat_template_kwargs guided_json mm_processor_kwargs cache_salt priority vllm_xargs lora_path
    kv_transfer_params top_k min_p repetition_penalty ignore_eos enable_thinking thinking enable_search result_format incremental_output safe_prompt
    random_seed documents transforms usage include_reasoning session_id search_parameters data_sources safety_settings cached_content extra_body host url
""".split()  # fmt: skip


def test_parameters_that_could_stand_for_the_body_or_steer() -> None:
    steering = """model models max_tokens maxtokens max-tokens n stream service_tier prompt api_key
    key access_token base_url _method x-http-method-override deployment provider proxy""".split()
    assert [name for name in steering if not steering_parameter(name)] == []
    harmless = "api-version beta alt limit after order include include_obfuscation utm_source v"
    assert [name for name in harmless.split() if steering_parameter(name)] == []


def test_members_that_choose_are_known_by_their_words_whatever_their_case() -> None:
    names = [*STEERING_FIELDS, *STEERING_MEMBERS]
    assert [
        name
        for name in names
        if not (
            steering_field(name) and steering_field(name.upper()) and steering_field(f" {name}")
        )
    ] == []
    assert [name for name in HARMLESS_MEMBERS if steering_field(name)] == []
