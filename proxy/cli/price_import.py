"""`tollkeeper price import`: a public table's prices as a YAML file for `include`."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from datetime import UTC
from decimal import Decimal
from pathlib import Path

import click

from proxy.cli import common
from proxy.config.price_tables import Table, TableError, bundled, genai, litellm
from proxy.core.pricing import explanation
from proxy.core.pricing.pricelist import RATES, PriceRow
from proxy.system.drafts import write_whole

FORMATS = {genai.NAME: genai.read, litellm.NAME: litellm.read}
FILE_BYTES_MAX = 64 * 2**20  # ten times today's tables
MADE_BY = "# Made by `tollkeeper price import`"


@click.command("import")
@common.config_option
@click.option(
    "--from", "source", type=click.Choice(list(FORMATS)), required=True, help="The table's format."
)
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--provider",
    metavar="NAME",
    help="Whose prices, as the table names it: deepseek, openai, google …",
)
@click.option(
    "--model", "globs", metavar="GLOB", multiple=True, help="Only these models; may be given again."
)
@click.option(
    "--upstream",
    metavar="NAME",
    help="For this upstream, which must be in the config if -c names one. Default: for any.",
)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write here. Default: standard output.",
)
@click.option("--yes", is_flag=True, help="Replace FILE though it was not made by this command.")
def import_(
    config_path: Path | None,
    source: str,
    file: Path | None,
    provider: str | None,
    globs: tuple[str, ...],
    upstream: str | None,
    out: Path | None,
    yes: bool,
) -> None:
    """Write a public table's prices as rows for config.yaml.

    Read the file over, name it in `include`, and commit it. FILE is genai-prices' prices/data.json
    or LiteLLM's model_prices_and_context_window.json. Without FILE, genai-prices is the table that
    ships with this program.

    \b
    Examples:
      tollkeeper price import --from genai-prices --provider deepseek \\
        --upstream modelmax --out prices.d/modelmax.yaml
      tollkeeper price import --from litellm model_prices_and_context_window.json \\
        --provider openai --model 'gpt-4o*' --out prices.d/openai.yaml
    """
    if (
        config_path is not None
        and upstream is not None
        and upstream not in common.load(config_path).settings.upstreams
    ):
        raise click.UsageError(f"there is no upstream {upstream!r} in {config_path}.")
    table = read_table(source, file)
    if provider is None or provider not in table.providers:
        problem = (
            "say whose prices with --provider"
            if provider is None
            else f"the table has no provider {provider!r}"
        )
        raise click.UsageError(f"{problem}: one of {', '.join(sorted(table.providers))}.")
    rows = [
        row
        for row in table.providers[provider]
        if not globs or any(fnmatch.fnmatchcase(row.model.lower(), glob.lower()) for glob in globs)
    ]
    priced = [row for row in rows if row.rates()]
    if not priced:
        raise common.Failed(
            "The table has no price per token for "
            f"{provider}{' and these models' if globs else ''}."
        )
    text = as_yaml(table, provider, priced, upstream)
    if out is None:
        click.echo(text, nl=False)
    else:
        _write(out, text, yes)
        click.echo(
            f"{out}: {len(priced)} rows of {table.source}. Name it in config.yaml: include: [{out}]"
        )
    left_out = sorted({row.model for row in rows if not row.rates()})
    if left_out:
        click.echo(
            "Left out, since the table prices them by what no answer states: "
            f"{', '.join(left_out)}",
            err=True,
        )


def read_table(source: str, file: Path | None) -> Table:
    """The table in a file, or the bundled one. Failed with the reason."""
    try:
        if file is None:
            if source != genai.NAME:
                raise click.UsageError(
                    f"--from {source} needs FILE; only {genai.NAME} ships with this program."
                )
            return bundled.load()
        if file.stat().st_size > FILE_BYTES_MAX:
            raise common.Failed(
                f"{file}: larger than {FILE_BYTES_MAX} bytes; this is no price table."
            )
        return FORMATS[source](json.loads(file.read_bytes(), parse_float=Decimal))
    except OSError as error:
        raise common.Failed(
            f"{source if file is None else file}: cannot be read: {error.strerror or error}; "
            "check the path and its permissions"
        ) from error
    except (TableError, ValueError, RecursionError) as error:
        raise common.Failed(f"{source if file is None else file}: {error}") from error


def as_yaml(table: Table, provider: str, rows: Sequence[PriceRow], upstream: str | None) -> str:
    """Rows as config.yaml writes them.

    Every value is quoted as in JSON, which YAML reads alike. So no name in a public table can
    become YAML.
    """
    version = f" {table.version}" if table.version else ""
    as_of = f", as of {table.date}" if table.date else ""
    head = [
        f"{MADE_BY}: {provider} of {table.name}{version}{as_of} ({table.url}).",
        "# US dollars per million tokens. Read it over: a reseller, a contract or another region "
        "has other prices.",
        "prices:",
    ]
    return (
        "\n".join([*head, *(f"  - {{{', '.join(_fields(row, upstream))}}}" for row in rows)]) + "\n"
    )


def _fields(row: PriceRow, upstream: str | None) -> list[str]:
    found: list[tuple[str, str | int | None]] = [
        ("model", row.model),
        ("upstream", upstream),
        ("currency", row.currency),
    ]
    found += [(name, getattr(row, name)) for name in RATES]
    found += [("service_tier", row.service_tier), ("above_input_tokens", row.above_input_tokens)]
    found.append(("hours_utc", None if row.hours_utc is None else explanation.hours(row.hours_utc)))
    texts = [
        f"{name}: {json.dumps(value, ensure_ascii=False)}"
        for name, value in found
        if value is not None
    ]
    return texts if row.from_ms is None else [*texts, f"from: {explanation.day(row.from_ms, UTC)}"]


def _write(path: Path, text: str, yes: bool) -> None:
    try:
        if (
            path.exists()
            and not yes
            and not path.read_text(encoding="utf-8", errors="replace").startswith(MADE_BY)
        ):
            raise common.Failed(
                f"{path} is there and was not made by this command: choose another file, or --yes "
                "to replace it."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path.resolve(), text.encode())  # a reload may read it now
    except OSError as error:
        raise common.Failed(f"{path} cannot be written: {error.strerror or error}.") from error
