"""Every request and answer shape of the four vendors' documents, with each real client: the same
through the proxy as without it, and booked as stated."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from proxy.scripted_upstream import RequestLine, expected
from tests.clients.accounting import booked, due
from tests.clients.cases import DOCUMENTS, MODELS, OTHERS, Case, cases, chat, user
from tests.clients.deployment import ROUTES, Deployment
from tests.clients.drivers import CLIENTS, NODE_DIR, Both, Seen

DIRECT_KEY = "sk-direct"
CONNECTION = {
    "host",
    "authorization",
    "connection",
    "content-length",
    "via",
}  # hop by hop, or written anew by each side
ADDED = {"x-tollkeeper-id", "x-accel-buffering"}
FRAMING = {"content-length", "transfer-encoding", "connection", "keep-alive"}


@pytest.mark.parametrize("vendor", DOCUMENTS)
@pytest.mark.parametrize("client", CLIENTS)
def test_nothing_changes_but_the_base_url(
    vendors: Deployment, clients: dict[str, Both], tmp_path: Path, client: str, vendor: str
) -> None:
    key = f"{client}-{vendor}"
    before = len(vendors.arrived())
    direct, proxied = clients[client](
        tmp_path, (vendors.direct, DIRECT_KEY), (vendors.proxied, f"sk-{key}"), list(cases(vendor))
    )
    arrived = vendors.arrived()[before:]

    assert len(arrived) == len(direct) + len(proxied), (
        "one request upstream for each of the client's"
    )
    assert len(proxied) >= 3 * len(DOCUMENTS[vendor])
    for one, other in zip(direct, proxied, strict=True):
        assert other.result() == one.result(), one.name
        assert one.error is None or client == "node", one.error
    rows = vendors.rows(key, len(proxied))
    for seen, line, original in zip(proxied, arrived[len(direct) :], arrived, strict=False):
        assert outward(line) == outward(original), seen.name
        assert seen.id is not None
        row = rows[seen.id]
        assert booked(row) == due(seen.endpoint, seen.body, line.body_bytes), seen.name
        assert (row["bytes_in"], row["upstream"]) == (
            line.body_bytes,
            vendor if vendor != "odd" else "modelverse",
        ), seen.name
        assert credential(line) == f"Bearer sk-at-{row['upstream']}"
    if client == "curl":
        compare_bytes(direct, proxied)


def outward(line: RequestLine) -> tuple[object, ...]:
    """A request as it reached the upstream, but for what belongs to the connection."""
    return (
        line.method,
        line.path,
        line.body_sha256,
        line.body_bytes,
        line.complete,
        [(name, value) for name, value in line.headers if name.lower() not in CONNECTION],
    )


def credential(line: RequestLine) -> str:
    [value] = [value for name, value in line.headers if name.lower() == "authorization"]
    return value


def compare_bytes(direct: list[Seen], proxied: list[Seen]) -> None:
    """On the wire: the upstream's very bytes, its status line, its headers in their order and
    spelling."""
    for one, other in zip(direct, proxied, strict=True):
        assert other.parsed == expected(msgspec.json.encode(one.body)).body, one.name
        assert other.status_line == one.status_line
        assert end_to_end(other) == end_to_end(one), one.name
        assert length(other) == length(one), one.name
        own = {name.lower() for name, _ in other.headers} - {
            name.lower() for name, _ in one.headers
        }
        assert own == (ADDED if one.body.get("stream") else {"x-tollkeeper-id"}), one.name


def end_to_end(seen: Seen) -> list[tuple[str, str]]:
    """What the upstream says, in its order and spelling; the second of its Date apart, which passes
    too."""
    return [
        (name, value if name != "Date" else "")
        for name, value in seen.headers
        if name.lower() not in ADDED | FRAMING
    ]


def length(seen: Seen) -> str | None:
    return next((value for name, value in seen.headers if name == "Content-Length"), None)


@pytest.mark.parametrize("client", CLIENTS)
def test_models_of_a_sole_upstream_are_its_own_answer(
    sole: Deployment, clients: dict[str, Both], tmp_path: Path, client: str
) -> None:
    listed = [
        case if client != "curl" else Case(name=case.name, endpoint=path(case), body={})
        for case in MODELS
    ]
    direct, proxied = clients[client](
        tmp_path, (sole.direct, DIRECT_KEY), (sole.proxied, DIRECT_KEY), listed
    )
    assert [seen.result() for seen in proxied] == [seen.result() for seen in direct]
    assert [seen.error for seen in direct] == [None] * len(MODELS)


def path(case: Case) -> str:
    """The resource as the SDKs spell it."""
    return "/".join(["models", *(str(model).replace("/", "%2F") for model in case.body.values())])


@pytest.mark.parametrize("client", CLIENTS)
def test_models_of_several_upstreams_are_the_routed_ones(
    vendors: Deployment, clients: dict[str, Both], tmp_path: Path, client: str
) -> None:
    listed = [Case(name="models", endpoint="models", body={})]
    [[one], [other]] = clients[client](
        tmp_path, (vendors.direct, DIRECT_KEY), (vendors.proxied, f"sk-{client}-models"), listed
    )
    whole, merged = (
        json.loads(seen.parsed) if isinstance(seen.parsed, bytes) else seen.parsed
        for seen in (one, other)
    )
    literal = {model for model, _ in ROUTES if "*" not in model}
    ids = {entry["id"] for entry in merged["data"]}
    assert literal < ids and "demo-chat" in ids and "o1" not in ids
    assert all(entry in whole["data"] for entry in merged["data"]), "each entry is the vendor's own"
    assert {key: value for key, value in merged.items() if key != "data"} == {
        key: value for key, value in whole.items() if key != "data"
    }


@pytest.mark.parametrize("client", CLIENTS)
def test_the_callers_own_credential_serves_the_other_endpoints(
    sole: Deployment, clients: dict[str, Both], tmp_path: Path, client: str
) -> None:
    key = f"sk-of-{client}"
    direct, proxied = clients[client](tmp_path, (sole.direct, key), (sole.proxied, key), OTHERS)
    assert [seen.result() for seen in proxied] == [seen.result() for seen in direct]
    assert [seen.error for seen in direct] == [None, None]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_large_picture(
    vendors: Deployment, clients: dict[str, Both], tmp_path: Path, client: str
) -> None:
    """Beyond 1 MiB, where curl waits for `100 Continue`."""
    url = f"data:image/png;base64,{'iVBORw0K' * 200_000}"
    large = Case(
        name="large",
        body=chat(
            "gpt-4o",
            [
                user(
                    [
                        {"type": "text", "text": "?"},
                        {"type": "image_url", "image_url": {"url": url}},
                    ]
                )
            ],
        ),
    )
    [[one], [other]] = clients[client](
        tmp_path, (vendors.direct, DIRECT_KEY), (vendors.proxied, f"sk-{client}-large"), [large]
    )
    assert other.result() == one.result() and one.error is None
    [row] = vendors.rows(f"{client}-large", 1).values()
    assert booked(row) == due(other.endpoint, other.body, int(str(row["bytes_in"])))
    assert int(str(row["bytes_in"])) > 1_600_000


def test_the_lock_file_names_no_registry_of_ours() -> None:
    """The digests decide what is installed; an address would tie everyone to one machine's
    mirror."""
    packages = json.loads((NODE_DIR / "package-lock.json").read_text())["packages"]
    addresses = [str(package["resolved"]) for package in packages.values() if "resolved" in package]
    assert all(address.startswith("https://registry.npmjs.org/") for address in addresses)
    assert all("integrity" in package for name, package in packages.items() if name)
