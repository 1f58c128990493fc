"""The shape of the code, held by a test: what may import what, a pure core, small files, no hidden
state. Each failure names its remedy."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LINES_MAX = 400
FUNCTION_LINES_MAX = 70

# Imports go to a line above, or stay within one package; two parts of one line do not know each
# other.
LAYERS = (
    "core listeners scripted_upstream system",
    "config journal ledger",
    "metrics tenants",
    "accounting notify quota",
    "dataplane",
    "admin",
    "server",
    "cli",
    "__main__",
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer.split()}

IMPURE = set(
    "aiohttp aiosqlite asyncio concurrent ctypes io logging multiprocessing os pathlib random secrets select selectors shutil signal socket sqlite3 ssl "
    "subprocess tempfile threading time uuid uvloop".split()
)
MEASURED_IN_TIME = {"run.py", "show.py"}  # programs, not tests
FOREIGN = {"inflight.count"}  # counted in place, since a call for each would be made per request
NOT_COUNTING = {"model_names.py"}  # the likeness of two names is no amount
MUTABLE = re.compile(
    r"[\[{]|(collections\.)?(list|dict|set|bytearray|defaultdict|deque|Counter|OrderedDict|Weak\w+)\("
)
CHANGES = r"(\[[^\]]*\] *[-+*|/]?=(?!=)|\.(append|add|update|pop|popitem|clear|extend|insert|remove|discard|setdefault|__setitem__)\(| *[-+|]=)"

pytestmark = pytest.mark.xdist_group("architecture")  # so that one process parses


@cache
def parsed() -> dict[Path, ast.Module]:
    """Every module of proxy/, by its path."""
    paths = sorted((ROOT / "proxy").rglob("*.py"))
    return {path.relative_to(ROOT): ast.parse(path.read_text()) for path in paths}


def core() -> dict[Path, ast.Module]:
    return {path: tree for path, tree in parsed().items() if path.parts[1] == "core"}


def nodes(modules: dict[Path, ast.Module], *types: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Every node of these types, with `file:line` for the message."""
    for path, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, types):
                yield f"{path}:{getattr(node, 'lineno', 1)}", node


def imported(node: ast.AST) -> list[str]:
    """The dotted names that an import statement reaches; [] for other statements."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return (
            [f"{node.module}.{alias.name}" for alias in node.names]
            if node.module == "proxy"
            else [f"{node.module}"]
        )
    return []


def test_every_module_has_a_layer():
    unknown = {path.parts[1].removesuffix(".py") for path in parsed()} - set(RANK) - {"__init__"}
    assert not unknown, (
        f"{unknown}: give each a place in LAYERS, above all that import it and below all that it imports"
    )


def test_imports_go_down_only():
    wrong = []
    for where, node in nodes(parsed(), ast.Import, ast.ImportFrom):
        importer = Path(where.rpartition(":")[0]).parts[1].removesuffix(".py")
        for name in imported(node):
            package, _, target = name.partition(".")
            target = target.partition(".")[0]
            if (
                package == "proxy"
                and target in RANK
                and target != importer
                and RANK[target] >= RANK.get(importer, -1)
            ):
                wrong.append(f"{where} {importer} -> {target}")
        if isinstance(node, ast.ImportFrom) and node.level:
            wrong.append(f"{where} relative import")
    assert not wrong, (
        f"{wrong}: move the shared part down, or let the caller pass it in (see LAYERS; imports are absolute)"
    )


def test_state_is_changed_by_its_owner_alone():
    """What an object knows is told by its own methods, so that a reader finds who changes it."""
    rooms = {
        path: tree
        for path, tree in parsed().items()
        if path.parts[1] in ("admin", "dataplane", "listeners", "server", "tenants")
    }
    wrong = []
    for where, node in nodes(rooms, ast.Assign, ast.AugAssign, ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(one, ast.Attribute) and ast.unparse(one.value) not in ("self", "cls"):
                    wrong.append(f"{where} {ast.unparse(one)}")
    wrong = [each for each in wrong if each.partition(" ")[2] not in FOREIGN]
    assert not wrong, f"{wrong}: give the object a method that says what happens"


def test_a_databases_folder_is_its_own():
    """The ledger is reached through `proxy.ledger` alone, so that another database can stand in."""
    wrong = [
        f"{where} import {name}"
        for where, node in nodes(parsed(), ast.Import, ast.ImportFrom)
        if not where.startswith("proxy/ledger/sqlite/")
        for name in imported(node)
        if name.startswith("proxy.ledger.sqlite")
    ]
    assert not wrong, f"{wrong}: use `connect`, `connect_reader` and `proxy.ledger.reading`"


def test_dialects_are_known_by_the_registry_alone():
    """What knows one API by its name would have to be changed for the next."""
    packages = tuple(
        f"proxy.core.dialects.{path.parent.name}"
        for path in (ROOT / "proxy/core/dialects").glob("*/__init__.py")
    )
    outside = {
        path: tree
        for path, tree in parsed().items()
        if path.parts[:3] != ("proxy", "core", "dialects")
    }
    wrong = [
        f"{where} {name}"
        for where, node in nodes(outside, ast.Import, ast.ImportFrom)
        for name in imported(node)
        if name.startswith(packages)
    ]
    assert not wrong, (
        f"{wrong}: ask the contract or the registry of core/dialects; what a dialect alone knows is a field of Dialect"
    )


def test_the_core_is_pure():
    wrong = [
        f"{where} import {name}"
        for where, node in nodes(core(), ast.Import, ast.ImportFrom)
        for name in imported(node)
        if name.partition(".")[0] in IMPURE
    ]
    attributes = (
        (where, node)
        for where, node in nodes(core(), ast.Attribute)
        if isinstance(node.value, ast.Name) and node.value.id == "sys"
    )
    wrong += [
        f"{where} sys.{node.attr}" for where, node in attributes if node.attr != "version_info"
    ]
    wrong += [
        f"{where} await"
        for where, _ in nodes(core(), ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    ]
    wrong += [
        f"{where} {node.func.id}()"
        for where, node in nodes(core(), ast.Call)
        if isinstance(node.func, ast.Name) and node.func.id in {"open", "print", "input"}
    ]
    assert not wrong, (
        f"{wrong}: core/ does no I/O and has no clock; take the bytes, the time or the random bits as an argument"
    )


def test_the_core_counts_in_integers():
    counting = {path: tree for path, tree in core().items() if path.name not in NOT_COUNTING}
    wrong = [
        f"{where} {node.value}"
        for where, node in nodes(counting, ast.Constant)
        if isinstance(node.value, float)
    ]
    wrong += [
        f"{where} /"
        for where, node in nodes(counting, ast.BinOp, ast.AugAssign)
        if isinstance(node.op, ast.Div)
    ]
    wrong += [
        f"{where} float()"
        for where, node in nodes(counting, ast.Call)
        if isinstance(node.func, ast.Name) and node.func.id == "float"
    ]
    assert not wrong, (
        f"{wrong}: what is booked or limited is an integer; use //, a ratio of two integers, or nano-units"
    )


def test_one_class_name_says_one_thing():
    places: dict[str, list[str]] = {}
    for where, node in nodes(parsed(), ast.ClassDef):
        places.setdefault(node.name, []).append(where)
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice, f"{twice}: a name that stands for two things; give one of them another"


def test_files_and_functions_stay_small():
    sizes = {
        str(path.relative_to("proxy")): len((ROOT / path).read_text().splitlines())
        for path in parsed()
    }
    long = {path for path, lines in sizes.items() if lines > LINES_MAX}
    wrong = [f"{path} {sizes[path]} lines" for path in sorted(long)]
    assert not wrong, (
        f"{wrong}: more than {LINES_MAX}; one file is one noun, so find the second one"
    )
    functions = nodes(parsed(), ast.FunctionDef, ast.AsyncFunctionDef)
    wrong = [
        f"{where} {node.name} {lines} lines"
        for where, node in functions
        if (lines := node.end_lineno - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not wrong, (
        f"{wrong}: more than {FUNCTION_LINES_MAX}; one function is one verb, so give a step its own"
    )


def test_every_module_says_what_it_is_for():
    wrong = [str(path) for path, tree in parsed().items() if not ast.get_docstring(tree)]
    assert not wrong, f"{wrong}: begin with a docstring that says what the module is for"


def test_imports_stand_at_the_top_and_names_are_not_rebound():
    functions = nodes(parsed(), ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    wrong = [
        f"{where} {imported(inner)}"
        for where, function in functions
        for inner in ast.walk(function)
        if imported(inner)
    ]
    assert not wrong, (
        f"{wrong}: import at the top of the file; if that makes a cycle, the shared part belongs further down"
    )
    wrong = [where for where, _ in nodes(parsed(), ast.Global)]
    assert not wrong, (
        f"{wrong}: no `global`; keep the state in an object that server.py makes and passes"
    )


def test_modules_hold_no_state_and_importing_does_nothing():
    state, effects = [], []
    for path, tree in parsed().items():
        code = ast.unparse(tree)
        for node in tree.body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                effects.append(f"{path}:{node.lineno}")
            if (
                isinstance(node, ast.Assign | ast.AnnAssign)
                and node.value is not None
                and MUTABLE.match(ast.unparse(node.value))
            ):
                name = ast.unparse(
                    node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                )
                # A table in capitals that nothing changes is a constant, whatever its type.
                if name != "__all__" and (
                    not name.isupper() or re.search(rf"\b{name}{CHANGES}", code)
                ):
                    state.append(f"{path}:{node.lineno} {name}")
    assert not state, (
        f"{state}: modules keep no state; hold it in an object that server.py makes and passes"
    )
    assert not effects, f"{effects}: importing does nothing; call it from server.py or cli/"


def test_no_test_is_judged_by_the_clock():
    """Below a second is a pace; a verdict after so many seconds fails on a slow machine."""
    wrong = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if {"bench", "node_modules"} & set(path.parts) or path.name in MEASURED_IN_TIME:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                given = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
                given += (
                    node.args[:1]
                    if name in ("timeout", "wait", "join")
                    else node.args[1:2]
                    if name == "wait_for"
                    else []
                )
                if any(
                    isinstance(value, ast.Constant)
                    and isinstance(value.value, int | float)
                    and value.value >= 1
                    for value in given
                ):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong, (
        f"{wrong}: wait for the event with `until` or `guard` of tests/support/waiting.py"
    )


def test_every_module_has_a_test_file():
    """At the mirrored place: proxy/quota/memory/rate.py has tests/quota/memory/test_rate.py."""
    wrong = []
    for path, tree in parsed().items():
        # Declarations alone need no test, and __init__ and __main__ only gather what others do.
        does_something = any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree)
        ) and not path.stem.startswith("__")
        mirrored = Path("tests", *path.parts[1:-1], f"test_{path.stem}.py")
        if does_something and not (ROOT / mirrored).exists():
            wrong.append(f"{path}: {mirrored}")
    assert not wrong, f"{wrong}: add the second file, so that a module can be changed with its test"
