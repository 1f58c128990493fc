"""The text of a config file as a tree of nodes that know where they stand, without YAML's traps.

Only `true`, `false`, whole decimal numbers and empty values have a type: `off`, `no`, `0123`,
`12:30` and dates stay the text they look like. A number with a fraction stays apart (`Fraction`),
because binary floating point cannot hold money. Duplicate keys, merge keys and tags are problems.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
import yaml

NODES_MAX = 100_000  # aliases can make a small file a huge tree
DEPTH_MAX = 50  # the deepest place that config.yaml knows is 6

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FRACTION = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
# Half of a character, or a byte that is not UTF-8: nothing that is written or sent can hold it.
_SURROGATE = re.compile("[\ud800-\udfff]")
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_VARIABLE_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_STRING_TAGS = frozenset(
    {"tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
)


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a config: where (`file:line`), which key, and what to do about it."""

    where: str
    path: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path, self.text) if part)


class Fraction(msgspec.Struct, frozen=True):
    """A YAML number that is not whole, as it was written."""

    text: str


class Node(msgspec.Struct, frozen=True):
    """A value of the tree.

    `raw` is a scalar's text before variables were filled in: messages quote only that.
    """

    value: dict[str, Node] | list[Node] | str | int | bool | Fraction | None
    where: str
    raw: str = ""


class _Loader(yaml.SafeLoader):
    """Composes nodes without giving plain scalars a type."""

    yaml_implicit_resolvers = {}


def join(path: str, part: str | int) -> str:
    """`keys.alice` of ("keys", "alice"), `routes[0]` of ("routes", 0)."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    return f"{path}.{part}" if path else part


def parse(text: str, name: str) -> tuple[Node | None, list[Problem]]:
    """The tree of one file and what is wrong with it as YAML; no tree if it cannot be read at all.

    `name` is what messages call the file.
    """
    try:
        root = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        return None, [
            Problem(
                name + line,
                "",
                f"not readable as YAML: {error.problem or 'syntax error'}; check indentation and"
                " quotes near this line",
            )
        ]
    except yaml.YAMLError:
        # There are characters that YAML does not allow, and the error's text would quote them.
        return None, [
            Problem(name, "", "not readable as YAML: it holds a character that YAML does not allow")
        ]
    except RecursionError:
        return None, [Problem(name, "", f"nested deeper than {DEPTH_MAX} levels")]
    if root is None:
        return Node({}, f"{name}:1"), []
    builder = _Builder(name)
    tree = builder.node(root, "", 0)
    if not isinstance(tree.value, dict) and tree.value is not None:
        return None, [
            Problem(
                tree.where,
                "",
                "expected a mapping of keys to values, such as `listen: 127.0.0.1:8790`",
            )
        ]
    return tree, builder.problems


class _Builder:
    """Turns PyYAML's node graph into our tree, collecting every problem."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self.left = NODES_MAX

    def node(self, node: yaml.Node, path: str, depth: int) -> Node:
        where = f"{self.name}:{node.start_mark.line + 1}"
        self.left -= 1
        if depth > DEPTH_MAX or self.left < 0:
            if self.left >= -1:  # once is enough
                self.left = -2
                self.problems.append(
                    Problem(
                        where,
                        path,
                        f"nested deeper than {DEPTH_MAX} levels or larger than {NODES_MAX} values,"
                        " aliases filled in",
                    )
                )
            return Node(None, where)
        if node.tag not in _STRING_TAGS:
            self.problems.append(
                Problem(where, path, f"the tag {node.tag} is not allowed; remove it")
            )
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, where, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return Node(
                [
                    self.node(item, join(path, index), depth + 1)
                    for index, item in enumerate(node.value)
                ],
                where,
            )
        text = _SURROGATE.sub("?", node.value)
        if text != node.value:
            self.problems.append(
                Problem(
                    where,
                    path,
                    "holds half of a character (\\ud800 to \\udfff); write the character itself",
                )
            )
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return Node(scalar(text) if plain else text, where, text)

    def mapping(self, node: yaml.MappingNode, where: str, path: str, depth: int) -> Node:
        found: dict[str, Node] = {}
        for key_node, value_node in node.value:
            key_where = f"{self.name}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(
                    Problem(
                        key_where,
                        path,
                        "a key must be a plain word; put it in quotes if it holds brackets or"
                        " braces",
                    )
                )
                continue
            key = key_node.value
            if _SURROGATE.search(key):
                self.problems.append(
                    Problem(
                        key_where,
                        path,
                        "a key holds half of a character (\\ud800 to \\udfff); write the character"
                        " itself",
                    )
                )
            elif key == "<<":
                self.problems.append(
                    Problem(
                        key_where,
                        join(path, key),
                        "merge keys are not supported; write the keys out",
                    )
                )
            elif key in found:
                self.problems.append(
                    Problem(
                        key_where,
                        join(path, key),
                        f"duplicate key, first at {found[key].where}; keep one of them",
                    )
                )
            else:
                # The value's place is its key's: a block starts on the line after the name that
                # people look for.
                value = self.node(value_node, join(path, key), depth + 1)
                found[key] = Node(value.value, key_where, value.raw)
        return Node(found, where)


def scalar(text: str) -> str | int | bool | Fraction | None:
    """What a plain (unquoted) scalar stands for."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        # int() of thousands of digits raises.
        return int(text.replace("_", "")) if len(text) < 40 else text
    if _FRACTION.fullmatch(text):
        return Fraction(text)
    return text


class Missing(msgspec.Struct, frozen=True):
    """A variable that a scalar names without a default, and that the environment does not have."""

    where: str
    path: tuple[str | int, ...]
    variable: str

    def problem(self) -> Problem:
        path = ""
        for part in self.path:
            path = join(path, part)
        return Problem(
            self.where,
            path,
            f"the environment variable {self.variable} is not set; set it, or write"
            f" ${{{self.variable}:-}} to allow it to be empty",
        )


def expand(
    node: Node,
    environ: Mapping[str, str],
    missing: list[Missing],
    problems: list[Problem],
    path: tuple[str | int, ...] = (),
) -> Node:
    """The tree with `${VAR}` and `${VAR:-default}` filled in (`$${` is a literal `${`).

    As in a shell, the default also replaces an empty variable. Filling in happens after parsing: a
    value cannot add keys, and text from the environment stays text.
    """
    value = node.value
    if isinstance(value, dict):
        return Node(
            {
                key: expand(item, environ, missing, problems, (*path, key))
                for key, item in value.items()
            },
            node.where,
        )
    if isinstance(value, list):
        return Node(
            [
                expand(item, environ, missing, problems, (*path, index))
                for index, item in enumerate(value)
            ],
            node.where,
        )
    if not isinstance(value, str) or "${" not in value:
        return node

    def fill(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        body = _VARIABLE_BODY.fullmatch(match[1])
        if body is None or not match[0].endswith("}"):
            place = Missing(node.where, path, "").problem()
            problems.append(
                Problem(
                    place.where,
                    place.path,
                    "a variable is written ${NAME} or ${NAME:-default}; write $${ for a literal ${",
                )
            )
            return ""
        name, default = body[1], body[2]
        if found := environ.get(name, ""):
            if _SURROGATE.search(found):
                place = Missing(node.where, path, name).problem()
                problems.append(
                    Problem(
                        place.where,
                        place.path,
                        f"the environment variable {name} is not text in UTF-8; set it again",
                    )
                )
                return _SURROGATE.sub("?", found)
            return found
        if default is None and name not in environ:
            missing.append(Missing(node.where, path, name))
            return ""
        # Both are text here: no default and an empty variable is the empty text.
        return default or ""

    return Node(_VARIABLE.sub(fill, value), node.where, node.raw)
