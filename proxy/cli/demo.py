"""`tollkeeper demo`: the proxy in front of the scripted upstream, with lines to paste."""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from proxy.cli import common
from proxy.cli.lazy import later
from proxy.listeners import descriptors
from proxy.tenants.key import KEY_BYTES_MIN, make_key

if TYPE_CHECKING:
    import uvloop

    from proxy import scripted_upstream
    from proxy.config import loader
    from proxy.server import lifecycle, listening, logs, startup
else:
    uvloop = later("uvloop")
    scripted_upstream = later("proxy.scripted_upstream")
    loader = later("proxy.config.loader")
    lifecycle = later("proxy.server.lifecycle")
    logs = later("proxy.server.logs")
    startup = later("proxy.server.startup")

HOST = "127.0.0.1"
DATA_PORT = 8790
METRICS_PORT = 9464
ADMIN_PORT = 8791
PACE_S = 0.03  # between events: slow enough to see them arrive
UPSTREAM_KEY = "sk-scripted-upstream"
MADE_BY = "# Made by `tollkeeper demo`, which writes it anew at each start."


class Demo(msgspec.Struct, frozen=True, kw_only=True):
    """What the printed lines name."""

    base_url: str
    metrics_url: str
    secret: str
    team_page: str
    admin_page: str
    admin_token: str
    config_path: Path
    kept: bool


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep config, ledger and journal here instead of a temporary directory.",
)
@click.option(
    "--port",
    default=DATA_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The proxy's port. If it is taken, or 0, any free one.",
)
@click.option(
    "--metrics-port",
    default=METRICS_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The same for the metrics.",
)
@click.option(
    "--pace",
    default=PACE_S,
    show_default=True,
    type=click.FloatRange(0, 10),
    help="Seconds between the events of a stream.",
)
def demo(directory: Path | None, port: int, metrics_port: int, pace: float) -> None:
    """Start a scripted upstream and the proxy in front of it, and print lines to paste.

    It needs no key and no network. Ctrl-C stops both.

    \b
    Example:
      tollkeeper demo
    """
    with _home(directory) as home:
        uvloop.run(_run(home, port, metrics_port, pace, kept=directory is not None))
    click.echo("Stopped." if directory is not None else "Stopped; the demo's data is removed.")


class Ports(msgspec.Struct, frozen=True):
    """Where the demo listens; 0: any free port."""

    data: int
    metrics: int
    admin: int


def config_text(base_url: str, ports: Ports, secret: str, token: str) -> str:
    """The demo's config.yaml: one upstream, one route, one team, the digest of one key, the pages.

    `token` is the administrator's.
    """
    return f"""{MADE_BY}
listen: {HOST}:{ports.data}
metrics: {{listen: "{HOST}:{ports.metrics}"}}
admin: {{listen: "{HOST}:{ports.admin}", tokens: {{ops: {{token: "{token}", role: admin}}}}}}
pages: {{team: true, admin: true}}
data_dir: ./var
drain: {{delay: 0s, timeout: 5s}}

upstreams:
  scripted:
    base_url: {base_url}
    api_key: {UPSTREAM_KEY}
    apis: [chat, completions, embeddings, responses, messages]
routes:
  - {{model: "*", upstream: scripted}}
prices:                                 # made up, per million tokens
  - {{model: "*", input: "1", output: "2", from: 2026-01-01}}

teams:
  demo-team: {{labels: {{cost_center: "4711"}}}}
keys:
  demo: {{team: demo-team, secret_sha256: {hashlib.sha256(secret.encode()).hexdigest()}}}
"""


def lines(demo: Demo) -> str:
    """The lines to paste. Each block runs in a shell as it stands."""
    stays = "and stays there" if demo.kept else "and is removed at the end (--dir DIR keeps it)"
    command, config_file = common.own_command(), shlex.quote(str(demo.config_path))
    return f"""
Tollkeeper listens on {demo.base_url} with a scripted upstream behind it. Ctrl-C stops both.
The data is in {shlex.quote(str(demo.config_path.parent))}, {stays}.
The key is {demo.secret}

A stream with curl, which states its usage because it is asked to:

curl -N {demo.base_url}/chat/completions \\
  -H "Authorization: Bearer {demo.secret}" -H "Content-Type: application/json" \\
  -d '{{"model": "demo-chat", "stream": true, "stream_options": {{"include_usage": true}},
       "messages": [{{"role": "user", "content": "Tell me a short story."}}]}}'

The same with the official Python SDK (pip install openai):

python3 - <<'END'
from openai import OpenAI

client = OpenAI(base_url="{demo.base_url}", api_key="{demo.secret}")
for chunk in client.chat.completions.create(
    model="qwen3-max-2026-01-23",
    messages=[{{"role": "user", "content": "讲个笑话"}}],
    stream=True,
    stream_options={{"include_usage": True}},
):
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
END

And with the official Node SDK (npm install openai):

node --input-type=module - <<'END'
import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{demo.base_url}", apiKey: "{demo.secret}" }});
const answer = await client.chat.completions.create({{
  model: "gpt-4o",
  messages: [{{ role: "user", content: "What is the capital of France?" }}],
}});
console.log(answer.choices[0].message.content);
END

Anthropic's Messages, with the same key:

curl {demo.base_url}/messages \\
  -H "x-api-key: {demo.secret}" -H "Content-Type: application/json" \\
  -d '{{"model": "demo-chat", "max_tokens": 100,
       "messages": [{{"role": "user", "content": "Tell me a short story."}}]}}'

What it came to, in a browser:

{demo.team_page} for the team, with the key above
{demo.admin_page} for administrators, with the token {demo.admin_token}

And here:

{command} usage -c {config_file}
{command} ledger status -c {config_file}
curl -s {demo.metrics_url} | grep '^tollkeeper_'

Other models: demo-silent (states no usage), demo-tools, demo-slow, demo-long, demo-error-429,
demo-error-event, demo-cut, demo-hang, deepseek-v3.2, gpt-4o …
All of them: curl -s {demo.base_url}/models -H "Authorization: Bearer {demo.secret}"
"""


def free_port(wanted: int) -> int:
    """`wanted` if nothing listens there, else 0: any port that is free when the proxy binds it."""
    with socket.socket() as probe:
        # As a listener sets it: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError:
            return 0
    return wanted


async def _run(home: Path, port: int, metrics_port: int, pace_s: float, *, kept: bool) -> None:
    """Run both servers; the upstream starts first and stops last."""
    descriptors.raise_limit()
    secret, token = make_key(secrets.token_bytes(KEY_BYTES_MIN)), secrets.token_hex(32)
    ports = Ports(free_port(port), free_port(metrics_port), free_port(ADMIN_PORT if port else 0))
    path = home / "config.yaml"
    async with scripted_upstream.serving(scripted_upstream.Script(pace_s=pace_s)) as upstream:
        path.write_text(
            config_text(upstream.base_url, ports, secret, token),
            encoding="utf-8",
        )
        loaded = loader.load(path, os.environ)
        logs.configure(loaded.settings.log.format, sys.stderr)

        def announce(addresses: listening.Addresses) -> None:
            ready = Demo(
                base_url=f"http://{addresses.data}/v1",
                metrics_url=f"http://{addresses.metrics}/metrics",
                secret=secret,
                team_page=f"http://{addresses.data}/ui",
                admin_page=f"http://{addresses.admin}/ui",
                admin_token=token,
                config_path=path,
                kept=kept,
            )
            click.echo(lines(ready))

        try:
            await lifecycle.serve(loaded, ready=announce, environ=os.environ)
        except startup.StartError as error:
            raise common.Failed(str(error)) from error


@contextmanager
def _home(directory: Path | None) -> Iterator[Path]:
    """The directory of the demo: the one given, or a temporary one that is removed at the end.

    Raises Failed where the directory has a config that is not the demo's.
    """
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="tollkeeper-demo-") as temporary:
            yield Path(temporary)
        return
    path = directory / "config.yaml"
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(MADE_BY):
        raise common.Failed(f"{path} is not the demo's: choose another --dir.")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    yield directory.absolute()
