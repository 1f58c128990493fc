"""`transformers serve` behind the proxy, whose streams state their usage unasked, on the finish
chunk, and end without [DONE]: what it reports is booked.

Its environment is near a gigabyte: `make campaign` installs it, `make test` does not.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.cases import Case, chat
from tests.clients.deployment import Deployment, proxy
from tests.clients.drivers import CLIENTS, Both
from tests.support.waiting import until_blocking

PYTHON = Path(sys.prefix) / "clients" / "transformers" / "bin" / "python"
SERVER = Path(__file__).parent / "servers" / "tiny_transformers.py"
STREAM, USAGE = {"stream": True}, {"include_usage": True}
ASKED = [
    *(
        Case(name=f"whole {seed}", body=chat("tiny", "hello", max_tokens=12, seed=seed))
        for seed in range(5)
    ),
    *(
        Case(
            name=f"streamed {seed}",
            body=chat("tiny", "hello " * seed, max_tokens=40, seed=seed, temperature=1.0, **STREAM),
        )
        for seed in range(20)
    ),
    *(
        Case(
            name=f"streamed with usage {seed}",
            body=chat("tiny", "你好", max_tokens=12, seed=seed, stream_options=USAGE, **STREAM),
        )
        for seed in range(5)
    ),
    Case(
        name="completions",
        endpoint="completions",
        body={"model": "tiny", "prompt": "once upon a time", "max_tokens": 9},
    ),
]
ERRORS = [
    Case(name="another model", body=chat("other", "hello")),
    # Its last: behind a 500 it closes the connection without a word, and what comes next on it is
    # lost, with the proxy and without.
    Case(name="no array, streamed", body={"model": "tiny", "messages": "hello", "stream": True}),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its base URL."""
    if not (PYTHON.parents[1] / ".installed").exists():
        pytest.skip(
            "transformers is not installed: `make campaign` does it where the package registries can be reached"
        )
    directory = tmp_path_factory.mktemp("transformers")
    log = directory / "transformers.log"
    with log.open("wb") as output:
        process = subprocess.Popen([PYTHON, SERVER, directory], stdout=output, stderr=output)
    try:

        def found() -> re.Match[str] | None:
            assert process.poll() is None, log.read_text()
            return re.search(r"running on (http://\S+)", log.read_text())

        yield f"{until_blocking(found, 0.1)[1]}/v1"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module", params=["observe", "inject"])
def deployment(
    request: pytest.FixtureRequest, server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The proxy in front of it."""
    upstreams = {"serve": {"base_url": server, "api_key": "sk-none", "stream_usage": request.param}}
    keys = {
        f"{client}-{kind}": {"secret": f"sk-{client}-{kind}"}
        for client in CLIENTS
        for kind in ("asked", "errors")
    }
    with proxy(
        tmp_path_factory.mktemp("proxy") / request.param,
        upstreams=upstreams,
        routes=[{"model": "*", "upstream": "serve"}],
        keys=keys,
    ) as (proxied, data_dir):
        yield Deployment(server, proxied, data_dir)


@pytest.mark.campaign
@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "curl"])
def test_transformers_reports_and_it_is_recorded(
    deployment: Deployment, clients: dict[str, Both], tmp_path: Path, client: str
) -> None:
    direct, proxied = clients[client](
        tmp_path, (deployment.direct, "sk-none"), (deployment.proxied, f"sk-{client}-asked"), ASKED
    )
    rows = deployment.rows(f"{client}-asked", len(ASKED))
    for one, seen in zip(direct, proxied, strict=True):
        assert seen.error is None, (seen.name, seen.error)
        last = seen.parsed[-1] if isinstance(seen.parsed, list) else seen.parsed
        assert isinstance(last, dict)
        usage, row = last["usage"], rows[str(seen.id)]
        assert (row["input_tokens"], row["output_tokens"], row["source"], row["outcome"], row["inconsistent"], row["model_served"]) == (
            usage["prompt_tokens"], usage["completion_tokens"], "reported", "completed", 0, last["model"]
        ), seen.name  # fmt: skip
        assert shape(one.parsed) == shape(seen.parsed), seen.name


def shape(parsed: object) -> object:
    """The fields of an answer, whatever they say: of a stream, those of its first and last chunk.
    Its answers are drawn by lot."""
    if isinstance(parsed, list):
        return [shape(parsed[0]), shape(parsed[-1])]
    return re.sub(r": (\"[^\"]*\"|[0-9.]+)", "", json.dumps(parsed))


@pytest.mark.campaign
@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "curl"])
def test_what_transformers_refuses_costs_nothing(
    deployment: Deployment, clients: dict[str, Both], tmp_path: Path, client: str
) -> None:
    direct, proxied = clients[client](
        tmp_path,
        (deployment.direct, "sk-none"),
        (deployment.proxied, f"sk-{client}-errors"),
        ERRORS,
    )
    assert [seen.result() for seen in proxied] == [seen.result() for seen in direct]
    assert all(seen.error is not None for seen in proxied)
    rows = deployment.rows(f"{client}-errors", len(ERRORS)).values()
    assert {(row["outcome"], row["input_tokens"], row["output_tokens"]) for row in rows} == {
        ("rejected_upstream", 0, 0)
    }
