"""config.yaml -> `Settings`: finds, reads, fills in variables, includes and checks it.

Nothing else reads the environment. `load` either returns settings that a service can start with, or
raises `ConfigError` with every problem at once. Its steps:

- `nodes`: text -> nodes
- `reader`: nodes -> settings, by the types of `settings`
- `checks`: mistakes that only the whole config shows

`tollkeeper check --schema` prints the JSON Schema that `docs/config.schema.json` holds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from proxy.config import checks
from proxy.config.effective import carry_over, masked, what_needs_restart
from proxy.config.environment import unused_proxies
from proxy.config.nodes import Missing, Node, Problem, expand, join, parse
from proxy.config.reader import SettingsReader
from proxy.config.schema import json_schema
from proxy.config.settings import Route, Settings, UpstreamSettings
from proxy.config.settings.upstreams import APIS
from proxy.config.values import KINDS
from proxy.core.spelling import nearest

__all__ = [
    "ConfigError",
    "Loaded",
    "carry_over",
    "find",
    "forward_only",
    "json_schema",
    "load",
    "masked",
    "what_needs_restart",
]

SEARCHED = (Path("config.yaml"), Path("/etc/tollkeeper/config.yaml"))
FILE_BYTES_MAX = 8 * 2**20  # ten thousand keys take about 1 MiB
INCLUDABLE = ("teams", "keys", "prices")


class ConfigError(Exception):
    """A config that cannot be used; `messages` holds one line for each problem."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = tuple(messages)
        super().__init__("\n".join(self.messages))


class Loaded(msgspec.Struct, frozen=True):
    """A usable config, what to tell the operator about it, and its file (None: no file)."""

    settings: Settings
    warnings: tuple[str, ...]
    path: Path | None


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """The config of `path`, or of the first place that `find` knows."""
    path = find(path, environ)
    read, problems = _read(path, str(path))
    if read is None:
        raise ConfigError(map(str, problems))
    notes: list[str] = []
    root = _included(read, path.parent, problems, notes)
    missing: list[Missing] = []
    root = expand(root, environ, missing, problems)
    root, dropped = _without_unused_upstreams(root, missing)
    problems += [entry.problem() for entry in missing if entry.path[:2] not in dropped]
    reader = SettingsReader(path.parent)
    settings = _resolved(reader.read(Settings, root), path.parent.absolute())
    problems += reader.problems
    problems += checks.problems(settings, reader.where, {entry.path for entry in problems})
    if problems:
        # Each problem once, in the order of the file; a missing variable also fails the check of
        # its own value, which says nothing new.
        unset = {entry.problem().path for entry in missing}
        told = dict.fromkeys(
            entry
            for entry in problems
            if entry.path not in unset or "environment variable" in entry.text
        )
        raise ConfigError(str(entry) for entry in sorted(told, key=_place))
    notes += [
        f"upstreams.{name} is left out: no route uses it and {variable} is not set"
        for (_, name), variable in dropped.items()
    ]
    notes += unused_proxies(settings, environ)
    return Loaded(
        checks.digests_only(settings),
        (*notes, *checks.warnings(settings, time.time_ns() // 1_000_000)),
        path,
    )


def find(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """The config file to read.

    The file that is named, else `TOLLKEEPER_CONFIG`, ./config.yaml, /etc/tollkeeper/config.yaml.
    """
    if explicit is not None:
        return explicit
    if named := environ.get("TOLLKEEPER_CONFIG"):
        return Path(named)
    for path in SEARCHED:
        if path.is_file():
            return path
    raise ConfigError(
        [
            f"no config file: looked for {' and '.join(map(str, SEARCHED))}; name one with --config"
            " or TOLLKEEPER_CONFIG, or use serve --upstream URL"
        ]
    )


def forward_only(
    url: str,
    environ: Mapping[str, str],
    *,
    listen: str | None = None,
    metrics_listen: str | None = None,
) -> Loaded:
    """A config without a file: everything goes to `url` with the caller's own credential.

    There is one vendor to ask, so it says itself which APIs it serves. Data lie in ./var.
    """
    base_url = _option("--upstream", "base_url", url)
    name = (urlsplit(base_url).hostname or "upstream").replace(":", "-")
    settings = Settings(
        upstreams={name: UpstreamSettings(base_url=base_url, auth="forward", apis=APIS)},
        routes=(Route(model="*", upstream=name),),
    )
    replace = msgspec.structs.replace
    if listen is not None:
        settings = replace(settings, listen=_option("--listen", "address", listen))
    if metrics_listen is not None:
        settings = replace(
            settings,
            metrics=replace(
                settings.metrics, listen=_option("--metrics-listen", "address", metrics_listen)
            ),
        )
    return Loaded(_resolved(settings, Path.cwd()), tuple(unused_proxies(settings, environ)), None)


def _option(name: str, kind: str, text: str) -> str:
    """A command-line option, read as the config reads such a value."""
    try:
        return str(KINDS[kind].parse(text))
    except ValueError as error:
        raise ConfigError([f"{name}: {error}"]) from error


def _read(path: Path, name: str) -> tuple[Node | None, list[Problem]]:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            [f"{name}: cannot be read: {error.strerror}; check the path and its permissions"]
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            [f"{name}: not text in UTF-8 (byte {error.start}); save it as UTF-8"]
        ) from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError([f"{name}: larger than {FILE_BYTES_MAX} bytes; split it with include"])
    return parse(text, name)


def _included(root: Node, base: Path, problems: list[Problem], notes: list[str]) -> Node:
    """The root with the teams, keys and prices of each included file.

    A name may stand in one file only.
    """
    if (
        not isinstance(root.value, dict)
        or "include" not in root.value
        or not isinstance(root.value["include"].value, list)
    ):
        return root
    entries = dict(root.value)
    for index, item in enumerate(root.value["include"].value):
        path = join("include", index)
        if not isinstance(item.value, str) or not item.value:
            continue  # the reader tells
        pattern = Path(item.value)
        files = sorted(Path(pattern.anchor or base).glob(str(pattern.relative_to(pattern.anchor))))
        if not files and any(sign in item.value for sign in "*?["):
            notes.append(f"{path}: no file is named like {item.value}")
        elif not files:
            problems.append(
                Problem(
                    item.where,
                    path,
                    f"there is no file {item.value} beside the config; correct the path or"
                    " remove it",
                )
            )
        for file in files:
            try:
                included, found = _read(file, str(file))
            except ConfigError as error:
                problems += [Problem(item.where, path, message) for message in error.messages]
                continue
            problems += found
            if included is not None:
                _merge(entries, included, problems)
    return Node(entries, root.where)


def _merge(entries: dict[str, Node], included: Node, problems: list[Problem]) -> None:
    for block, node in included.value.items() if isinstance(included.value, dict) else ():
        if block not in INCLUDABLE:
            problems.append(
                Problem(
                    node.where,
                    block,
                    "an included file holds only teams, keys and prices (the nearest is"
                    f" {nearest(block, INCLUDABLE)}); move it to the main file",
                )
            )
        elif node.value is None:
            continue
        elif block == "prices":
            own = entries.get(block)
            if not isinstance(node.value, list):
                problems.append(
                    Problem(node.where, block, "expected a list; write one `- {model: …}` a line")
                )
            elif own is None or own.value is None or isinstance(own.value, list):
                # of anything else the reader tells
                before = own.value if own is not None and isinstance(own.value, list) else []
                entries[block] = Node(
                    [*before, *node.value], node.where if own is None else own.where
                )
        elif not isinstance(node.value, dict):
            problems.append(Problem(node.where, block, "expected a mapping of names to values"))
        else:
            own = entries.get(block)
            if own is not None and own.value is not None and not isinstance(own.value, dict):
                continue  # the reader tells
            merged = dict(own.value) if own is not None and isinstance(own.value, dict) else {}
            for key, item in node.value.items():
                if key in merged:
                    problems.append(
                        Problem(
                            item.where,
                            join(block, key),
                            f"duplicate key, first at {merged[key].where}; keep one of them",
                        )
                    )
                else:
                    merged[key] = item
            entries[block] = Node(merged, node.where if own is None else own.where)


def _without_unused_upstreams(
    root: Node, missing: Iterable[Missing]
) -> tuple[Node, dict[tuple[str | int, ...], str]]:
    """The root without unrouted upstreams that lack a variable, and what to warn of.

    The second value holds each such upstream's path and its variable.
    """
    upstreams = root.value.get("upstreams") if isinstance(root.value, dict) else None
    if (
        not isinstance(root.value, dict)
        or upstreams is None
        or not isinstance(upstreams.value, dict)
    ):
        return root, {}
    used: set[object] = set()
    for block in ("routes", "passthrough"):
        items = root.value[block].value if block in root.value else None
        for item in items if isinstance(items, list) else []:
            if isinstance(item.value, dict) and "upstream" in item.value:
                used.add(item.value["upstream"].value)
    if not used <= upstreams.value.keys():
        return root, {}  # a misspelt name may mean any of them
    dropped = {
        entry.path[:2]: entry.variable
        for entry in missing
        if entry.path[0] == "upstreams" and len(entry.path) > 2 and entry.path[1] not in used
    }
    kept = {
        name: node for name, node in upstreams.value.items() if ("upstreams", name) not in dropped
    }
    return Node({**root.value, "upstreams": Node(kept, upstreams.where)}, root.where), dropped


def _resolved(settings: Settings, base: Path) -> Settings:
    """The settings with absolute paths.

    data_dir and CA files begin at the config file's directory, the ledger's key at data_dir.
    """
    replace = msgspec.structs.replace
    data_dir = Path(base / settings.data_dir)
    upstreams = {
        name: (
            upstream
            if upstream.ca_file is None
            else replace(upstream, ca_file=base / upstream.ca_file)
        )
        for name, upstream in settings.upstreams.items()
    }
    return replace(
        settings,
        data_dir=data_dir,
        upstreams=upstreams,
        ledger=replace(settings.ledger, key_file=data_dir / settings.ledger.key_file),
    )


def _place(problem: Problem) -> tuple[bool, str, int]:
    name, _, line = problem.where.rpartition(":")
    return (not name, name, int(line)) if line.isdecimal() else (True, problem.where, 0)
