"""The Valkey server that the tests of the quota use, one for each process that tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.valkey import ValkeyServer, valkey_server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A server that runs all the time; a test empties it first."""
    with valkey_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server
