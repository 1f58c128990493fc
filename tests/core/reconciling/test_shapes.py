"""Which file is of which shape."""

from __future__ import annotations

import pytest

from proxy.core.reconciling.shapes import SHAPES, VENDORS, chosen, needs, plain_name

# Heads of files as they are found in public; docs/reconcile.md says where.
HEADS = [
    ("openai", "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id,organization_name", "OpenAI costs"),
    ("openai", "start_time,end_time,amount_value,amount_currency,quantity,quantity_unit,line_item,user_id,api_key_id", "OpenAI costs"),
    ("openai", "start_time,end_time,project_id,num_model_requests,model,batch,service_tier,input_tokens,output_tokens,input_cached_tokens", "OpenAI usage"),
    ("anthropic", "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type", "Anthropic cost csv"),
    ("anthropic", "starting_at,ending_at,currency,amount,workspace_id,description,cost_type,model,service_tier,token_type", "Anthropic cost report"),
    ("anthropic", "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_output_tokens", "Anthropic usage"),
    ("openrouter", "generation_id,created_at,cost_total,cost_web_search,cost_cache,tokens_prompt,tokens_completion,tokens_reasoning,tokens_cached,model_permaslug", "OpenRouter activity csv"),
    ("openrouter", "date,model,model_permaslug,endpoint_id,provider_name,usage,byok_usage_inference,requests,prompt_tokens,completion_tokens", "OpenRouter activity (API"),
    ("anthropic", "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed,api_key_id,api_key_status", "Anthropic cost csv"),
    ("anthropic", "starting_at,ending_at,cost.amount,cost.currency,cost.list_amount,cost.requests,group.model", "Anthropic cost report"),
    ("anthropic", "starting_at,ending_at,usage.uncached_input_tokens,usage.cache_creation.ephemeral_5m_input_tokens,usage.output_tokens,group.model", "Anthropic usage"),
    ("openrouter", "Date,Slug,Usage,BYOK Usage,Requests,Prompt Tokens,Completion Tokens,Reasoning Tokens", "OpenRouter activity (API"),
    ("openrouter", "data.id,data.created_at,data.model,data.total_cost,data.usage,data.native_tokens_prompt", "OpenRouter activity csv"),
    ("deepseek", "\ufeffuser_id,utc_date,model,api_key_name,api_key,type,price,amount", "DeepSeek amount"),
    ("deepseek", "user_id,start_time_iso,end_time_iso,model,api_key_name,api_key,type,price,amount", "DeepSeek amount"),
    ("deepseek", "user_id,utc_date,model,wallet_type,cost,currency", "DeepSeek cost"),
    ("dashscope", "账单信息/账单月份,账单信息/消费时间,产品信息/产品名称,资源信息/实例ID（出账粒度）,用量信息/用量,应付信息/应付金额（含税）,标识信息/账单明细ID", "Alibaba Cloud"),
    ("dashscope", "BillingDate,ProductName,InstanceID,Usage,PretaxAmount,Currency", "Alibaba Cloud"),
    ("new-api", "id,user_id,created_at,type,content,username,token_name,model_name,quota,prompt_tokens,completion_tokens,channel", "new-api"),
    ("focus", "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ServiceName", "FOCUS"),
    ("generic", "Date,Model,Input Tokens,Output Tokens,Cost", "a csv with usual names"),
    ("generic", "Date,Team,Model,Spend ($),Requests,Total Tokens", "a csv with usual names"),
    ("generic", "request_id,startTime,endTime,model,spend,prompt_tokens,completion_tokens", "a csv with usual names"),
    ("generic", "requestId,createdAt,model,costUSD,promptTokens,completionTokens", "a csv with usual names"),
    ("generic", "started_at,model_served,cost,currency,upstream_request_id", "a csv with usual names"),
]  # fmt: skip


@pytest.mark.parametrize(("vendor", "head", "name"), HEADS)
def test_each_head_that_was_seen_is_known(vendor: str, head: str, name: str) -> None:
    found = chosen(vendor, head.split(","))
    assert found is not None and found.shape.name.startswith(name)


def test_another_file_is_of_no_shape() -> None:
    for vendor in VENDORS:
        assert chosen(vendor, ["Name", "Street", "Town"]) is None
    assert chosen("openai", []) is None


def test_what_is_needed_is_said_by_the_columns_names() -> None:
    assert [needs(shape) for shape in SHAPES if shape.vendor == "deepseek"] == [
        "utc_date or start_time_iso or date, model, type, price, amount",
        "utc_date or start_time_iso or date, model, cost",
    ]


def test_names_are_compared_without_case_width_and_signs_between() -> None:
    for name in ("Input Tokens", "input-tokens", " INPUT_TOKENS ", "ｉｎｐｕｔ　tokens"):
        assert plain_name(name) == "input_tokens"
