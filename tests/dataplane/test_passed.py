"""Which entry of `passthrough` a request is for."""

from __future__ import annotations

import msgspec
import pytest

from proxy.config.settings import Passthrough, Settings, UpstreamSettings
from proxy.core.errors import ProxyError
from proxy.dataplane.snapshot import Snapshot

SETTINGS = Settings(
    upstreams={"v": UpstreamSettings(base_url="http://h/v1")},
    passthrough=(
        Passthrough(path="/v1/files/*", methods=("DELETE",), upstream="v", charge="free"),
        Passthrough(path="/v1/files*", methods=("GET", "POST"), upstream="v"),
        Passthrough(path="/v2/rerank", methods=("POST",), upstream="v"),
    ),
)


@pytest.mark.parametrize(
    ("method", "path", "name", "object"),
    [
        ("GET", "/v1/files", "/v1/files", None),
        ("GET", "/files/file-1/content", "/v1/files", "file-1"),
        ("DELETE", "/v1/files/file-1", "/v1/files", "file-1"),
        ("POST", "/v2/rerank", "/v2/rerank", None),
        ("POST", "/rerank", None, None),
        ("GET", "/v1/other", None, None),
        ("GET", "/v1/files/../x", None, None),
    ],
)
def test_the_entry_of_a_request(
    method: str, path: str, name: str | None, object: str | None
) -> None:
    found = Snapshot(SETTINGS).passed.find(method, path)
    assert (None if found is None else found.passed.name) == name
    assert found is None or found.object == object


def test_whose_answer_is_the_vendors_own_word() -> None:
    passed = Snapshot(SETTINGS).passed
    for path, last in (
        ("/v1/files/file-1", True),
        ("/v1/files/file%2D1", True),
        ("/v1/files/file-1/content", False),
        ("/v1/files/file-1/raw", False),
        ("/v1/files", False),
    ):
        found = passed.find("GET", path)
        assert found is not None and found.last == last
    assert passed.has_owners("v") and not passed.has_owners("w")


def test_another_method_is_told_which_there_are() -> None:
    with pytest.raises(ProxyError) as refused:
        Snapshot(SETTINGS).passed.find("PUT", "/v1/files/file-1")
    assert refused.value.status == 405
    assert refused.value.headers == (("Allow", "DELETE, GET, POST"),)


@pytest.mark.parametrize(
    ("method", "path", "orders"),
    [
        ("POST", "/v1/batches", True),
        ("POST", "/batches", True),
        ("POST", "/v1/batche%73", None),
        ("POST", "/v1/messages/batches", True),
        ("POST", "/v1/fine_tuning/jobs", True),
        ("POST", "/v1/batch/jobs", True),
        ("POST", "/v1/batches/batch_1/cancel", False),
        ("GET", "/v1/batches/batch_1", False),
        ("POST", "/v1/vector_stores/vs_1/file_batches", False),
    ],
)
def test_what_orders_work_that_runs_behind_the_answer(
    method: str, path: str, orders: bool | None
) -> None:
    paths = ("/v1/batches*", "/v1/messages/batches*", "/v1/fine_tuning*", "/v1/batch*")
    entries = tuple(
        Passthrough(path=path, methods=("GET", "POST"), upstream="v", charge="free")
        for path in (*paths, "/v1/vector_stores*")
    )
    settings = msgspec.structs.replace(SETTINGS, passthrough=entries)
    found = Snapshot(settings).passed.find(method, path)
    assert (None if found is None else found.orders_work(method)) == orders
