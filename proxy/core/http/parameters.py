"""Reads the parameters behind a `?` into a struct, whose fields say which there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeVar

import msgspec
from msgspec import inspect

from proxy.core.errors import invalid_request
from proxy.core.spelling import nearest

_Shape = TypeVar("_Shape", bound=msgspec.Struct)


def read_parameters(shape: type[_Shape], given: Iterable[tuple[str, str]]) -> _Shape:
    """The parameters, each known and once. Raises ProxyError 400 with what to write instead."""
    found: dict[str, str | int | bool] = {}
    known, choices = _parameters(shape), _choices(shape)
    for name, value in given:
        if name not in known:
            close = nearest(name[:80], known)
            hint = f"; the nearest is {close}" if close is not None else ""
            knows = f" (it takes {', '.join(known)})" if known else " (it takes none)"
            raise invalid_request(
                f"This has no query parameter {name[:80]!r}{hint}{knows}.", param=name[:80]
            )
        if name in found:
            raise invalid_request(f"The query parameter {name} stands there twice.", param=name)
        if value not in choices.get(name, (value,)):
            raise invalid_request(
                f"{name} is one of {', '.join(choices[name])}: not {value[:80]!r}.", param=name
            )
        found[name] = _READERS[known[name]](value, name)
    try:
        return msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        said, _, where = str(error).replace("`", "").partition(" - at $.")
        raise invalid_request(f"{where}: {said}.", param=where) from error


def choices_at(shape: type[msgspec.Struct], place: str) -> tuple[str, ...]:
    """The words that may stand at a place of a shape, such as `.rows[...].kind`.

    Empty: the place is not known, or may have any word.
    """
    told: inspect.Type | None = inspect.type_info(shape)
    for name, _ in re.findall(r"\.(\w+)|(\[)", place):
        told = None if told is None else _bare(told)
        if isinstance(told, inspect.StructType) and name:
            fields = {field.encode_name: field.type for field in told.fields}
            told = fields.get(name)
        else:
            told = told.item_type if isinstance(told, inspect.ListType) else None
    told = None if told is None else _bare(told)
    if isinstance(told, inspect.EnumType):
        return tuple(str(one.value) for one in told.cls)
    return tuple(map(str, told.values)) if isinstance(told, inspect.LiteralType) else ()


@cache
def _parameters(shape: type[msgspec.Struct]) -> dict[str, type]:
    """Each parameter's name, and whether it is text, a number, or true or false."""
    return {name: _kind(told) for name, told in _types(shape).items()}


@cache
def _choices(shape: type[msgspec.Struct]) -> dict[str, tuple[str, ...]]:
    """The words that a parameter may be, of those that may be some words only."""
    return {
        name: tuple(map(str, told.values))
        for name, told in _types(shape).items()
        if isinstance(told, inspect.LiteralType)
    }


def _types(shape: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    told = inspect.type_info(shape)
    assert isinstance(told, inspect.StructType), "a query is a struct"
    return {field.encode_name: _bare(field.type) for field in told.fields}


def _bare(told: inspect.Type) -> inspect.Type:
    """The type without its bounds, and without None."""
    if isinstance(told, inspect.Metadata):
        return _bare(told.type)
    if isinstance(told, inspect.UnionType):
        choices = [one for one in told.types if not isinstance(one, inspect.NoneType)]
        return choices[0] if len(choices) == 1 else told
    return told


def _kind(told: inspect.Type) -> type:
    if isinstance(told, inspect.IntType):
        return int
    return bool if isinstance(told, inspect.BoolType) else str


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < len(str(2**63))):
        raise invalid_request(f"{name} is a whole number.", param=name)
    return int(text)


def _yes_or_no(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        raise invalid_request(f"{name} is true or false.", param=name)
    return text == "true"


# Not as `msgspec` reads loose text: it takes the word `null` for nothing, which is also a name.
_READERS: dict[type, Callable[[str, str], str | int | bool]] = {
    str: lambda text, _name: text,
    int: _number,
    bool: _yes_or_no,
}
