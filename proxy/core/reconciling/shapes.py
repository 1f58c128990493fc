"""The shapes of vendors' files: which column says what, and in which unit.

Each shape was seen in public: docs/reconcile.md names where. A column goes by any of several names,
in any letter case, with blanks, dashes or underscores; nested JSON has names with points.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from proxy.core.reconciling.moments import Width

# The fields of a line that a column can give.
FIELDS: Final = (
    "at end id model item charge amount price quantity unit currency requests input uncached "
    "cached cache_write cache_write_long output tier batch speed kind cancelled details product "
    "category"
).split()
QUOTA_PER_UNIT: Final = 500_000  # new-api and one-api count a US dollar in so many


class FileShape(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of file.

    `columns` has the names of each field's column, the best first. `needed` are fields without
    which the file is of another kind; of a group written with `|` one is enough. `divisor`: amounts
    count so many parts of a unit. `width` is how much time a line covers where no column says it.
    `items` names how an item's text is read.
    """

    vendor: str
    name: str
    needed: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    zone: str | None = "UTC"
    currency: str | None = "USD"
    divisor: int = 1
    width: Width | None = None
    items: str = "plain"
    # Values of the column `kind` whose lines count; lines of `refunds` count negative.
    kinds: tuple[str, ...] | None = None
    refunds: tuple[str, ...] = ()


def _shape(vendor: str, name: str, needed: str, columns: str, **more: object) -> FileShape:
    """A shape; `columns` has a field a line: its name, then the names of its column."""
    named = [line.split(maxsplit=1) for line in columns.strip().splitlines()]
    return FileShape(
        vendor=vendor,
        name=name,
        needed=tuple(needed.split()),
        columns={field: tuple(names.split()) for field, names in named},
        **more,  # type: ignore[arg-type]
    )


SHAPES: Final[tuple[FileShape, ...]] = (
    _shape(
        "openai",
        "OpenAI costs (API or the dashboard's csv)",
        "at amount",
        """
        at        start_time start_time_iso date
        end       end_time end_time_iso
        amount    amount.value amount_value
        currency  amount.currency amount_currency
        item      line_item
        quantity  quantity
        unit      quantity_unit
        """,
        width=Width.DAY,
        items="openai",
    ),
    _shape(
        "openai",
        "OpenAI usage (API or the dashboard's csv)",
        "at input output",
        """
        at        start_time start_time_iso date
        end       end_time end_time_iso
        model     model
        requests  num_model_requests num_requests
        input     input_tokens
        cached    input_cached_tokens
        output    output_tokens
        batch     batch
        tier      service_tier
        """,
        width=Width.DAY,
    ),
    _shape(
        "anthropic",
        "Anthropic cost csv (the console's)",
        "at amount model",
        """
        at        usage_date_utc
        model     model
        amount    cost_usd
        item      token_type
        charge    cost_type
        tier      usage_type
        speed     speed
        """,
        width=Width.DAY,
        items="anthropic",
    ),
    _shape(
        "anthropic",
        "Anthropic cost report (API; amounts in cents)",
        "at amount",
        """
        at        starting_at
        end       ending_at
        model     model group.model
        amount    amount cost.amount
        currency  currency cost.currency
        item      token_type group.token_type
        charge    cost_type group.cost_type description
        requests  cost.requests requests
        tier      service_tier group.service_tier
        speed     speed group.speed
        """,
        width=Width.DAY,
        items="anthropic",
        divisor=100,
    ),
    _shape(
        "anthropic",
        "Anthropic usage (API or the console's csv)",
        "at output uncached",
        """
        at                starting_at usage_date_utc
        end               ending_at
        model             model model_version group.model
        uncached          uncached_input_tokens usage_input_tokens_no_cache
        cached            cache_read_input_tokens usage_input_tokens_cache_read
        cache_write       cache_creation.ephemeral_5m_input_tokens usage_input_tokens_cache_write_5m
        cache_write_long  cache_creation.ephemeral_1h_input_tokens usage_input_tokens_cache_write_1h
        output            output_tokens usage_output_tokens
        requests          requests
        tier              service_tier usage_type group.service_tier
        speed             speed group.speed
        """,
        width=Width.DAY,
    ),
    _shape(
        "openrouter",
        "OpenRouter activity csv (a line for each generation)",
        "id at amount",
        """
        id         generation_id id
        at         created_at
        model      model_permaslug model
        amount     cost_total total_cost
        input      native_tokens_prompt tokens_prompt
        cached     native_tokens_cached tokens_cached
        output     native_tokens_completion tokens_completion
        cancelled  cancelled
        """,
    ),
    _shape(
        "openrouter",
        "OpenRouter activity (API or csv; a line for each day and model)",
        "at amount model",
        """
        at        date
        model     model_permaslug model slug
        amount    usage cost total_cost
        requests  requests
        input     prompt_tokens
        output    completion_tokens
        """,
        width=Width.DAY,
    ),
    _shape(
        "deepseek",
        "DeepSeek amount csv (tokens and prices)",
        "at model kind price quantity",
        """
        at        utc_date start_time_iso date
        end       end_time_iso
        model     model
        kind      type
        price     price
        quantity  amount
        """,
        width=Width.DAY,
        currency=None,
        items="deepseek",
    ),
    _shape(
        "deepseek",
        "DeepSeek cost csv",
        "at model amount",
        """
        at        utc_date start_time_iso date
        end       end_time_iso
        model     model
        amount    cost
        currency  currency
        """,
        width=Width.DAY,
        currency=None,
    ),
    _shape(
        "dashscope",
        "Alibaba Cloud bill details (Model Studio)",
        "at item amount",
        """
        at        消费时间 账单日期 billingdate usagestarttime 服务开始时间 账单月份 billingcycle
        item      实例id(出账粒度) 资产/资源实例id 实例id instanceid
        amount    应付金额(含税) 应付金额 pretaxamount
        currency  币种 定价币种 currency
        quantity  用量 usage
        unit      用量单位 usageunit
        product   产品名称 productname
        """,
        zone="Asia/Shanghai",
        currency="CNY",
        items="dashscope",
    ),
    _shape(
        "new-api",
        "new-api or one-api logs (500,000 of quota are a US dollar)",
        "at amount model",
        """
        id        upstream_request_id request_id
        at        created_at
        model     model_name
        amount    quota
        kind      type
        input     prompt_tokens
        output    completion_tokens
        details   other
        """,
        divisor=QUOTA_PER_UNIT,
        kinds=("2", "6", "consume", "refund", "消费", "退款"),
        refunds=("6", "refund", "退款"),
    ),
    _shape(
        "focus",
        "FOCUS csv",
        "at amount currency",
        """
        at        chargeperiodstart
        end       chargeperiodend
        amount    billedcost
        currency  billingcurrency
        kind      chargecategory
        model     x_model x_modelname x_modelserved x_modelrequested skuid resourcename
        item      x_tokentype skumeter
        category  servicecategory
        product   servicename
        id        x_upstreamrequestid
        requests  x_requests
        input     x_inputtokens
        cached    x_cachedtokens
        output    x_outputtokens
        """,
        currency=None,
        items="focus",
    ),
    _shape(
        "generic",
        "a csv with usual names, or with those of --mapping",
        "at amount|input|output",
        """
        id           request_id upstream_request_id response_id generation_id
        at           started_at time timestamp created_at date day start_time month
        end          ended_at end_time
        model        model model_name model_served model_requested
        amount       cost amount spend cost_usd total_cost total
        currency     currency
        item         item line_item token_type
        requests     requests request_count num_requests
        input        input_tokens prompt_tokens
        cached       cached_tokens input_cached_tokens
        output       output_tokens completion_tokens
        tier         service_tier tier
        """,
        zone=None,
        currency=None,
    ),
)
VENDORS: Final = tuple(dict.fromkeys(shape.vendor for shape in SHAPES))
_BETWEEN: Final = re.compile(r"[\s_\-]+")
# Objects in which an answer may be: `{"data": {"id": …}}`.
_ANSWERS: Final = ("data.", "usage.")
_UNIT: Final = re.compile(r"_?\([^)]*\)$")  # `Spend ($)`


class Chosen(msgspec.Struct, frozen=True):
    """A shape, and which column of the file gives each field that it has."""

    shape: FileShape
    places: Mapping[str, str]


def plain_name(column: str) -> str:
    """A column's name as names are compared.

    Alibaba Cloud writes a group before a slash; where a name is compared whole it still fits.
    """
    folded = unicodedata.normalize("NFKC", column).strip("\ufeff\"' ").casefold()
    return _BETWEEN.sub("_", folded)


def chosen(vendor: str, columns: Sequence[str]) -> Chosen | None:
    """The first shape of a vendor that fits these columns; None if none does."""
    return next(
        (found for shape in of_vendor(vendor) if (found := fitted(shape, columns)) is not None),
        None,
    )


def of_vendor(vendor: str) -> list[FileShape]:
    """The shapes of a vendor, the finest first."""
    return [shape for shape in SHAPES if shape.vendor == vendor]


def fitted(shape: FileShape, columns: Sequence[str]) -> Chosen | None:
    """The shape with its columns in this file; None if one of those needed is not there."""
    by_name: dict[str, str] = {}
    for column in columns:
        name = plain_name(column)
        for known in (name, _UNIT.sub("", name), name.rpartition("/")[2]):
            by_name.setdefault(known, column)
    # As `startTime` and `InstanceID` are written, or within the object of an answer.
    for column in columns:
        name = plain_name(column)
        for known in (name.replace("_", ""), *(_within(name) if "." in name else ())):
            by_name.setdefault(known, column)
    places = {
        field: by_name[found]
        for field, names in shape.columns.items()
        for found in [
            written
            for name in map(plain_name, names)
            for written in (name, name.replace("_", ""))
            if written in by_name
        ][:1]
    }
    if all(any(one in places for one in field.split("|")) for field in shape.needed):
        return Chosen(shape, places)
    return None


def _within(name: str) -> tuple[str, ...]:
    """The name without the object that holds all of an answer, if it is in one."""
    return tuple(name.removeprefix(outer) for outer in _ANSWERS if name.startswith(outer))


def names_codes(found: Chosen) -> bool:
    """Whether the column of models may have numbers of a price list, or names of resources."""
    return plain_name(found.places.get("model", "")) in ("skuid", "resourcename")


def needs(shape: FileShape) -> str:
    """The columns without which a file is not of this shape, for people."""
    told = []
    for field in shape.needed:
        names = [name for one in field.split("|") for name in shape.columns.get(one, ())[:3]]
        told.append(" or ".join(names))
    return ", ".join(told)
