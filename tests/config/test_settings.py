"""The settings' types: each key documented, of a known kind, with a default that its own rules
accept."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from msgspec import inspect

from proxy.config.settings import (
    Route,
    Settings,
    UpstreamSettings,
    UpstreamTimeouts,
    host_port,
    timeouts_of,
)
from proxy.config.settings.upstreams import APIS
from proxy.config.values import KINDS
from proxy.core.dialects.registry import BY_ENDPOINT, api_of


def fields(kind: inspect.Type, path: str = "") -> Iterator[tuple[str, inspect.Field]]:
    """Every key of the config with its path."""
    match kind:
        case inspect.Metadata():
            yield from fields(kind.type, path)
        case inspect.UnionType():
            for choice in kind.types:
                yield from fields(choice, path)
        case inspect.DictType():
            yield from fields(kind.value_type, f"{path}.*")
        case inspect.VarTupleType():
            yield from fields(kind.item_type, f"{path}[]")
        case inspect.StructType():
            for field in kind.fields:
                yield f"{path}.{field.encode_name}", field
                yield from fields(field.type, f"{path}.{field.encode_name}")
        case _:
            pass


ALL = list(fields(inspect.type_info(Settings)))


@pytest.mark.parametrize(("path", "field"), ALL, ids=[path for path, _ in ALL])
def test_each_key_is_described_and_its_kind_is_known(path: str, field: inspect.Field) -> None:
    assert isinstance(field.type, inspect.Metadata), f"{path}: declare it with about()"
    assert (field.type.extra_json_schema or {}).get("description"), f"{path}: describe it"
    kind = (field.type.extra or {}).get("kind")
    assert kind is None or kind in KINDS, f"{path}: add {kind} to KINDS"
    if kind is not None and not field.required and field.default not in (None, ""):
        assert KINDS[kind].parse(KINDS[kind].show(field.default)) == field.default


@pytest.mark.parametrize(
    ("path", "field"),
    [(path, field) for path, field in ALL if field.required],
    ids=[path for path, field in ALL if field.required],
)
def test_each_required_key_is_text_so_that_reading_can_go_on_without_it(
    path: str, field: inspect.Field
) -> None:
    assert isinstance(field.type, inspect.Metadata)
    assert isinstance(field.type.type, inspect.StrType), path


def test_settings_cannot_change() -> None:
    with pytest.raises(AttributeError):
        Settings().listen = "0.0.0.0:80"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Settings(lisen="x")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:8790", ("127.0.0.1", 8790)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_host_and_port(listen: str, expected: tuple[str, int]) -> None:
    assert host_port(listen) == expected


def test_an_upstream_takes_the_general_timeouts_where_it_names_none() -> None:
    upstream = UpstreamSettings(
        base_url="http://h", timeouts=UpstreamTimeouts(idle_s=1.0, upstream_keepalive_s=0.0)
    )
    settings = Settings(upstreams={"v": upstream}, routes=(Route(model="*", upstream="v"),))
    expected = msgspec.structs.replace(settings.timeouts, idle_s=1.0, upstream_keepalive_s=0.0)
    assert timeouts_of(settings, upstream) == expected


def test_each_api_that_is_spoken_can_be_named_by_an_upstream() -> None:
    assert {api_of(endpoint) for endpoint in BY_ENDPOINT} == set(APIS)
