"""Reads a config's tree of nodes into `Settings`, by the types of `proxy.config.settings`.

It goes on after a problem, so that all are told at once.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import inspect

from proxy.config.nodes import Fraction, Node, Problem, join
from proxy.config.settings import LimitSettings
from proxy.config.values import FILED, KINDS
from proxy.config.words import OURS, meant, renamed
from proxy.core.spelling import nearest

SECRET_FILE_BYTES_MAX = 64 * 1024
FOREIGN_DEPTH_MAX = 4  # blocks in blocks of another gateway
# What a list looks like, by the last name of its path, or by the block around it.
LISTED = {
    "limits": '["60 requests/minute"]',
    "models": '["gpt-*"]',
    "warn_at": "[80%, 95%]",
    "routes": '[{model: "gpt-*", upstream: NAME}]',
    "prices": '[{model: "gpt-4o", input: "2.50", output: "10"}]',
    "fx": '[{rate: "0.14", from: 2026-01-01}]',
    "include": "[teams.d/*.yaml]",
    "notify": '[{url: "${SLACK_WEBHOOK}", format: slack}]',
    "events": "[limit_near, limit_reached]",
    "mail": "[ops@example.com]",
}
UNQUOTED = "which YAML reads as a number; put it in quotes"

# A value with a problem: the field keeps its default, so that the rest can still be checked.
_INVALID: Final = object()
_T = TypeVar("_T", bound=msgspec.Struct)


class SettingsReader:
    """Reads nodes into settings.

    It fills `problems` and `where` (path -> file:line) on its way. Relative secret files are found
    from `base`.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.problems: list[Problem] = []
        self.where: dict[str, str] = {}

    def read(self, cls: type[_T], node: Node) -> _T:
        """The settings that a file's root node says."""
        value = self._struct(_kind(cls), node, "")
        assert isinstance(value, cls)
        return value

    def _problem(self, node: Node, path: str, text: str) -> object:
        self.problems.append(Problem(node.where, path, text))
        return _INVALID

    def _value(self, kind: inspect.Type, node: Node, path: str, extra: dict[str, object]) -> object:
        self.where[path] = node.where
        if isinstance(kind, inspect.Metadata):
            return self._value(kind.type, node, path, kind.extra or {})
        if isinstance(kind, inspect.UnionType):
            if node.value is None:
                return None
            chosen = _chosen(kind, isinstance(node.value, list))
            if isinstance(node.value, dict) and _chosen(kind, True) is not chosen:
                return self._problem(
                    node, path, "expected a single value, or a list: put [ ] around the mapping"
                )
            return self._value(chosen, node, path, extra)
        if isinstance(kind, inspect.StructType):
            return self._struct(kind, node, path)
        if isinstance(kind, inspect.DictType):
            return self._dict(kind, node, path)
        if isinstance(kind, inspect.VarTupleType):
            return self._tuple(kind, node, path)
        return self._scalar(kind, node, path, extra)

    def _struct(self, kind: inspect.StructType, node: Node, path: str) -> object:
        if kind.cls is LimitSettings and isinstance(node.value, str | int | Fraction):
            rule = self._value(kind.fields[0].type, node, path, {})  # a limit may be its rule alone
            return LimitSettings(limit=rule if isinstance(rule, str) else "")
        entries = node.value
        if entries is None:
            entries = {}  # a block of which every line is commented out
        if not isinstance(entries, dict):
            known = ", ".join(field.encode_name for field in kind.fields)
            self._problem(node, path, f"expected a mapping of keys to values; known here: {known}")
            return kind.cls(**{field.name: "" for field in kind.fields if field.required})
        fields = {field.encode_name: field for field in kind.fields}
        secrets = {
            name + "_file": name for name, field in fields.items() if _kind_of(field) in FILED
        }
        values: dict[str, object] = {}
        for name, item in entries.items():
            if name in fields:
                value = self._value(fields[name].type, item, join(path, name), {})
            elif name in secrets and secrets[name] in entries:
                value = self._problem(
                    item, join(path, name), f"say either {secrets[name]} or {name}, not both"
                )
            elif name in secrets:
                kind_name = str(_kind_of(fields[secrets[name]]))
                value = self._secret_file(item, join(path, name), kind_name)
            elif (now := renamed(path, name)) is not None:
                value = self._problem(item, join(path, name), now)
            else:
                known_names = [*fields, *secrets]
                advice = (
                    meant(path, name)
                    or f"the nearest known one is {nearest(name, known_names)}"
                    f" (known here: {', '.join(known_names)})"
                )
                value = self._problem(item, join(path, name), f"unknown key; {advice}")
                self._foreign(item, join(path, name), 0)
            if value is not _INVALID:
                values[fields[secrets.get(name, name)].name] = value
        for field in kind.fields:
            if field.required and field.name not in values:
                if field.encode_name not in entries:
                    self._problem(
                        node,
                        join(path, field.encode_name),
                        f"missing; add {field.encode_name}: {_description(field)}",
                    )
                # Every required key is a text. Later checks skip an empty one: it was told here.
                values[field.name] = ""
        return kind.cls(**values)

    def _foreign(self, node: Node, path: str, depth: int) -> None:
        """Tells what another gateway's words mean here that stand in an unknown block."""
        inside = (
            node.value.items()
            if isinstance(node.value, dict)
            else enumerate(node.value)
            if isinstance(node.value, list)
            else ()
        )
        for name, item in inside:
            advice = meant(path, name) if isinstance(name, str) and name not in OURS else None
            if advice is not None:
                self._problem(item, join(path, name), advice)
            if depth < FOREIGN_DEPTH_MAX:
                self._foreign(item, join(path, name), depth + 1)

    def _secret_file(self, node: Node, path: str, kind: str) -> object:
        self.where[path] = node.where
        if not isinstance(node.value, str) or not node.value:
            return self._problem(node, path, "expected the path of a file that holds the secret")
        try:
            with (self.base / node.value).open("rb") as file:
                text = file.read(SECRET_FILE_BYTES_MAX + 1).decode().rstrip("\r\n")
            if len(text) > SECRET_FILE_BYTES_MAX:
                return self._problem(
                    node,
                    path,
                    f"the file is larger than {SECRET_FILE_BYTES_MAX} bytes; it should hold one"
                    " secret",
                )
            return KINDS[kind].parse(text)
        except OSError as error:
            return self._problem(
                node,
                path,
                f"cannot read {node.raw}: {error.strerror}; check the path and its permissions",
            )
        except UnicodeDecodeError:
            return self._problem(node, path, "the file is not text in UTF-8")
        except ValueError as error:
            return self._problem(node, path, f"in the file: {error}")

    def _dict(self, kind: inspect.DictType, node: Node, path: str) -> object:
        if node.value is None:
            return {}
        if not isinstance(node.value, dict):
            listed = (
                ": write `alice: {…}` instead of `- name: alice`"
                if isinstance(node.value, list)
                else ""
            )
            return self._problem(node, path, f"expected a mapping of names to values{listed}")
        found: dict[object, object] = {}
        for name, item in node.value.items():
            key = self._value(kind.key_type, Node(name, item.where, name), join(path, name), {})
            value = self._value(kind.value_type, item, join(path, name), {})
            if key is not _INVALID and value is not _INVALID:
                found[key] = value
        return found

    def _tuple(self, kind: inspect.VarTupleType, node: Node, path: str) -> object:
        if node.value is None:
            return ()
        if not isinstance(node.value, list):
            block, _, last = path.rpartition(".")
            example = LISTED.get(last) or LISTED.get(block)
            return self._problem(
                node,
                path,
                "expected a list; write [one, two] or one `- item` a line"
                + (f", such as {example}" if example else ""),
            )
        items = [
            self._value(kind.item_type, item, join(path, index), {})
            for index, item in enumerate(node.value)
        ]
        return tuple(item for item in items if item is not _INVALID)

    def _scalar(
        self, kind: inspect.Type, node: Node, path: str, extra: dict[str, object]
    ) -> object:
        value = node.value
        if isinstance(value, dict | list):
            return self._problem(node, path, "expected a single value, not a mapping or a list")
        if value is None:
            return self._problem(
                node, path, "no value; write one after the colon, or remove the key for its default"
            )
        # A size is an int too, but written as text.
        if isinstance(kind, inspect.IntType) and extra.get("kind") is None:
            result = self._int(node, path)
        elif isinstance(kind, inspect.BoolType):
            result = self._bool(node, path)
        else:
            result = self._text(kind, node, path, extra)
        return result if result is _INVALID else self._bounded(node, path, result, extra)

    def _int(self, node: Node, path: str) -> object:
        if (
            isinstance(node.value, str)
            and node.value != node.raw
            and node.value.isdecimal()
            and len(node.value) < 19
        ):
            return int(node.value)  # from a variable, whose value is always text
        if isinstance(node.value, bool) or not isinstance(node.value, int):
            return self._problem(
                node, path, f"expected a whole number without quotes, found {_quoted(node)}"
            )
        return node.value

    def _bool(self, node: Node, path: str) -> object:
        if (
            isinstance(node.value, str)
            and node.value != node.raw
            and node.value in ("true", "false")
        ):
            return node.value == "true"
        if not isinstance(node.value, bool):
            return self._problem(node, path, f"expected true or false, found {_quoted(node)}")
        return node.value

    def _text(self, kind: inspect.Type, node: Node, path: str, extra: dict[str, object]) -> object:
        name = extra.get("kind")
        reads = KINDS[name] if isinstance(name, str) else None
        value = node.value
        if name == "percent" and isinstance(value, int | Fraction) and not isinstance(value, bool):
            return self._problem(
                node,
                path,
                f"found {node.raw}; write a share with its sign, such as {_as_percent(node.raw)}",
            )
        if isinstance(value, Fraction):
            if name == "decimal":
                return self._problem(
                    node,
                    path,
                    f"{value.text} is a YAML float, which cannot hold money exactly; put it in"
                    f' quotes: "{value.text}"',
                )
            if name not in ("duration", "size"):
                return self._problem(node, path, f'found {value.text}, {UNQUOTED}: "{value.text}"')
            value = value.text
        elif isinstance(value, int):
            if isinstance(value, bool) or name not in ("decimal", "duration", "size", "limit"):
                hint = (
                    "which YAML reads as true or false; put it in quotes"
                    if isinstance(value, bool)
                    else UNQUOTED
                )
                return self._problem(node, path, f'found {node.raw}, {hint}: "{node.raw}"')
            value = str(value)
        assert isinstance(value, str)
        if isinstance(kind, inspect.LiteralType):
            if value not in kind.values:
                choices = sorted(str(choice) for choice in kind.values)
                return self._problem(
                    node,
                    path,
                    f"found {_quoted(node)}; the nearest possible value is"
                    f" {nearest(value, choices)} (possible: {', '.join(choices)})",
                )
            return value
        if reads is None:
            return value
        try:
            return reads.parse(value)
        except ValueError as error:
            return self._problem(
                node,
                path,
                f"{error}; found {_quoted(node)}" if reads.shown_in_errors else str(error),
            )

    def _bounded(self, node: Node, path: str, value: object, extra: dict[str, object]) -> object:
        above, at_least, at_most = extra.get("above"), extra.get("at_least"), extra.get("at_most")
        if not isinstance(value, int | float):
            return value
        name = extra.get("kind")
        show = KINDS[name].show if isinstance(name, str) else str
        if isinstance(above, int) and value <= above:
            return self._problem(
                node, path, f"must be more than {show(above)}, found {_quoted(node)}"
            )
        if isinstance(at_least, int) and value < at_least:
            return self._problem(
                node, path, f"must be at least {show(at_least)}, found {_quoted(node)}"
            )
        if isinstance(at_most, int) and value > at_most:
            return self._problem(
                node, path, f"must be at most {show(at_most)}, found {_quoted(node)}"
            )
        return value


@cache
def _kind(cls: type[msgspec.Struct]) -> inspect.StructType:
    """What it consists of: half of a load's work, and the same for each load of a process."""
    kind = inspect.type_info(cls)
    assert isinstance(kind, inspect.StructType)
    return kind


def _chosen(kind: inspect.UnionType, is_list: bool) -> inspect.Type:
    """The member of a union that a value is read as: a list type for lists, another one else."""
    choices = [choice for choice in kind.types if not isinstance(choice, inspect.NoneType)]
    return min(choices, key=lambda choice: isinstance(choice, inspect.VarTupleType) != is_list)


def _kind_of(field: inspect.Field) -> object:
    return (
        (field.type.extra or {}).get("kind") if isinstance(field.type, inspect.Metadata) else None
    )


def _description(field: inspect.Field) -> object:
    return (
        (field.type.extra_json_schema or {}).get("description")
        if isinstance(field.type, inspect.Metadata)
        else None
    )


def _quoted(node: Node) -> str:
    """A scalar as it was written, shortened: what a variable stood for is never shown."""
    text = node.raw or str(node.value)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _as_percent(text: str) -> str:
    """`80%` of 80 and of 0.8, which both mean that."""
    try:
        share = Decimal(text.replace("_", ""))
    except InvalidOperation:
        return "80%"
    return f"{(share * 100 if share <= 1 else share).normalize():f}%"
