"""Runs the scripted upstream as a process of its own.

`python -m proxy.scripted_upstream --port N [--log FILE]`
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from proxy.scripted_upstream.server import Script, serving


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8792,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0 takes a free port.",
)
@click.option(
    "--pace",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 60),
    help="Seconds between the events of a stream.",
)
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append what arrives and what is answered to this file, synced.",
)
def main(host: str, port: int, pace: float, log: Path | None) -> None:
    """A scripted OpenAI-compatible upstream; the model's name decides how it behaves.

    \b
    Example:
      python -m proxy.scripted_upstream --port 8792 --log upstream.jsonl
    """
    asyncio.run(_run(host, port, Script(pace_s=pace, log=log)))


async def _run(host: str, port: int, script: Script) -> None:
    """Serve until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with serving(script, host=host, port=port) as running:
        click.echo(f"scripted upstream ready on {running.base_url}")
        await ended.wait()


if __name__ == "__main__":
    main()
