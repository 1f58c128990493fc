"""The processes that the tests here share: started once, stopped at the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.cases import DOCUMENTS
from tests.clients.deployment import Deployment, four_vendors, one_vendor
from tests.clients.drivers import CLIENTS, Both, Node, both_ways
from tests.support.tls import certificate

HERE = Path(__file__).parent
KEYS = [
    f"{client}-{vendor}"
    for client in CLIENTS
    for vendor in (
        *DOCUMENTS,
        "responses",
        "errors",
        "vendor_errors",
        "broken",
        "cut",
        "models",
        "large",
    )
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here run in one worker, so that each of these processes is started once."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.whole)
            item.add_marker(pytest.mark.xdist_group("clients"))


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each client of an SDK reads the certificates of all authorities, 30 ms; none meets a
    vendor."""
    with pytest.MonkeyPatch.context() as patch:
        if shutil.which("openssl") is not None:
            _, cert = certificate(tmp_path_factory.mktemp("authority"))
            patch.setenv("SSL_CERT_FILE", str(cert))
        yield


@pytest.fixture(scope="session")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The four vendors behind one proxy, routed by model."""
    with four_vendors(tmp_path_factory.mktemp("vendors"), KEYS) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def sole(tmp_path_factory: pytest.TempPathFactory, vendors: Deployment) -> Iterator[Deployment]:
    """One upstream under the caller's own credential."""
    with one_vendor(tmp_path_factory.mktemp("sole"), vendors.direct) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """The Node SDK."""
    process = Node()
    yield process
    process.close()


@pytest.fixture(scope="session")
def clients(node: Node) -> dict[str, Both]:
    """Each client by its name in CLIENTS, to run the same cases without the proxy and through
    it."""
    return both_ways(node)
