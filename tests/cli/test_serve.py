"""`tollkeeper serve`: what it refuses, and one real start and stop."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import urllib.request

import pytest

from proxy.scripted_upstream import expected, serving
from tests.cli.process import running
from tests.support.waiting import GUARD_S

pytestmark = pytest.mark.whole

BODY = b'{"model":"demo-chat","messages":[{"role":"user","content":"Hello!"}]}'
READY = r'"message":"ready","base_url":"(http://[^"]+/v1)","metrics":"(http://[^"]+/metrics)"}\n'


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ("--upstream", "https://x.example/v1", "-c", "config.yaml"),
            2,
            "--upstream takes no config",
        ),
        (("--upstream", "nonsense"), 2, "--upstream"),
        (("--upstream", "https://x.example/v1", "--listen", "nonsense"), 2, "--listen"),
        (("--upstream", "https://x.example/v1/chat/completions"), 2, "https://x.example/v1"),
        (("--listen", "127.0.0.1:1"), 2, "--upstream"),
        (("-c", "nowhere.yaml"), 1, "nowhere.yaml"),
    ],
)
def test_what_is_refused_before_anything_starts(call, home, words, code, message):
    result = call("serve", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert not (home / "var").exists()


def test_a_wrong_config_starts_nothing(call, home):
    config = home / "config.yaml"
    config.write_text(config.read_text() + "listne: 127.0.0.1:1\n")
    result = call("serve")
    assert result.exit_code == 1
    assert "listne" in result.stderr
    assert not (home / "var").exists()


async def test_serving_stopping_and_reading_afterwards(call, home):
    async with serving() as upstream:
        (home / "config.yaml").write_text(
            "listen: 127.0.0.1:0\nmetrics: {listen: '127.0.0.1:0'}\ndrain: {delay: 0s, timeout: 10m}\n"
            f"upstreams: {{scripted: {{base_url: '{upstream.base_url}', api_key: sk-x}}}}\n"
            "routes: [{model: '*', upstream: scripted}]\nkeys: {alice: {secret: sk-alice}}\n"
        )
        codes = await asyncio.to_thread(_exchange, home)
    assert codes == (0, 1), (
        "a second process on one data directory fails, the first stops in good order"
    )
    rows = json.loads(call("usage", "--json", "--by", "key").stdout)[:-1]  # without the total
    assert [(row["key"], row["requests"], row["output_tokens"]) for row in rows] == [
        ("alice", 1, expected(BODY).usage["completion_tokens"])
    ]
    status = json.loads(call("ledger", "status", "--json").stdout)
    assert [journal["open_exchanges"] for journal in status["journal"]] == [0]


async def test_as_many_files_as_the_system_allows(home):
    (home / "config.yaml").write_text(
        "listen: 127.0.0.1:0\nmetrics: {listen: '127.0.0.1:0'}\ninflight_max: 1000000000\n"
        "upstreams: {scripted: {base_url: 'http://127.0.0.1:9/v1', api_key: sk-x}}\nroutes: [{model: '*', upstream: scripted}]\n"
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1000, hard), hard))  # inherited
    try:
        with running("serve", cwd=home, ready=f"need 2000000256 file descriptors.*{READY}") as (
            process,
            _,
        ):
            assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _exchange(home) -> tuple[int, int]:
    """One request through a started process; its exit code, and that of a second one beside it."""
    with running("serve", "-c", "config.yaml", cwd=home, ready=READY) as (process, found):
        request = urllib.request.Request(
            f"{found[1]}/chat/completions",
            BODY,
            {"Authorization": "Bearer sk-alice", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=GUARD_S) as response:
            assert response.read() == expected(BODY).body
        with urllib.request.urlopen(found[2], timeout=GUARD_S) as response:
            assert b"tollkeeper_requests_total" in response.read()
        with running(
            "ledger", "status", "-c", "config.yaml", cwd=home, ready="in use +by a running process"
        ):
            pass
        with running("serve", "-c", "config.yaml", cwd=home, ready=r"Error: .*\n") as (
            second,
            complaint,
        ):
            assert "in use" in complaint[0]
            second_code = second.wait(GUARD_S)
        process.send_signal(signal.SIGTERM)
        return process.wait(GUARD_S), second_code
