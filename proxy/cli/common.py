"""What the commands share: options, reading the config and the ledger, failures.

Exit codes: 0 done · 1 failed · 2 wrong usage · 3 checked and found differences.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.cli.lazy import later
from proxy.cli.tables import printable
from proxy.config.settings import Settings
from proxy.core.errors import ProxyError
from proxy.journal import JournalFigures, all_figures
from proxy.ledger import LedgerError, LedgerUnavailable, Reader, connect_reader
from proxy.ledger.reading import BookReader

if TYPE_CHECKING:
    from proxy.cli import admin_client, remote_reader
    from proxy.config import loader
else:
    loader = later("proxy.config.loader")
    # Both import this module.
    admin_client, remote_reader = map(later, ("proxy.cli.admin_client", "proxy.cli.remote_reader"))

# The settings of `serve --upstream URL` keep their data here; reads look here where there is no
# config file.
BARE_DATA_DIR = Path("var")

_Command = TypeVar("_Command", bound=Callable[..., object])
_Answer = TypeVar("_Answer")


class Failed(click.ClickException):
    """Ends the command with exit code 1 and a message for people."""


class OpenLedger(msgspec.Struct, frozen=True):
    """A ledger to read, with its time zone and the figures of the journal behind it.

    `journals` takes what the ledger says of its writers' positions. `key_file` is where the key of
    its seals should be; None: with the process elsewhere. `opened` makes another reader, also in
    another process; None: the ledger is elsewhere.
    """

    reader: BookReader
    zone: ZoneInfo
    journals: Callable[[Mapping[str, int]], list[JournalFigures]]
    key_file: Path | None = None
    opened: Callable[[], Reader] | None = None


class OwnBook(msgspec.Struct, frozen=True):
    """A ledger that this command reads itself, and the config that names it."""

    reader: Reader
    zone: ZoneInfo
    settings: Settings


def config_option(command: _Command) -> _Command:
    """`-c FILE`, the same for every command."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="The config file. Default: $TOLLKEEPER_CONFIG, ./config.yaml, "
        "/etc/tollkeeper/config.yaml.",
    )(command)


def data_dir_option(command: _Command) -> _Command:
    """`--data-dir DIR`, for reading a ledger without its config, wherever it was copied to."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Read the ledger and journal in DIR. Without -c no config is read at all: times are "
        "in UTC.",
    )(command)


def json_option(command: _Command) -> _Command:
    """`--json`, for commands that read."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def load(path: Path | None) -> loader.Loaded:
    """The config, or Failed with every problem in it."""
    try:
        return loader.load(path, os.environ)
    except loader.ConfigError as error:
        raise Failed(_listed(error.messages)) from error


def load_local(path: Path | None) -> loader.Loaded:
    """The same for a command that asks no process, which it says where one elsewhere is named."""
    found = load(path)
    if os.environ.get(admin_client.URL):
        click.echo(
            f"Read from {found.path} here: {admin_client.URL} is set, but this command asks no"
            " process.",
            err=True,
        )
    return found


def load_here(path: Path | None) -> loader.Loaded:
    """The same for a command that could ask a process elsewhere, which it says without a file."""
    try:
        loader.find(path, os.environ)
    except loader.ConfigError as error:
        raise Failed(
            f"{_listed(error.messages)}. To ask a process elsewhere, set {admin_client.URL} and "
            f"{admin_client.TOKEN}."
        ) from error
    return load(path)


def open_book(config_path: Path | None, data_dir: Path | None) -> OpenLedger:
    """The ledger of the process that the environment names, or that the config names.

    The one in `data_dir` needs no config. Without all of them it is the one in ./var, if that
    exists.
    """
    if data_dir is None and (process := admin_client.elsewhere()) is not None:
        remote = remote_reader.RemoteReader(process)
        return OpenLedger(remote, remote.zone, remote.journals)
    settings = _settings(config_path, data_dir)
    where = settings.data_dir if data_dir is None else data_dir
    opened = partial(connect_reader, settings.ledger.url, where)
    reader = ask(opened)
    return OpenLedger(
        reader,
        ZoneInfo(settings.timezone),
        partial(_journals, where / "journal"),
        where / settings.ledger.key_file,
        opened,
    )


def open_own_book(config_path: Path | None, data_dir: Path | None, command: str) -> OwnBook:
    """The ledger of the config, or in `data_dir`, for commands that no other process answers."""
    if data_dir is None and admin_client.elsewhere() is not None:
        raise Failed(
            f"`tollkeeper {command}` reads the ledger itself, and {admin_client.URL} names a "
            "process elsewhere: run it there, or on a copy of its data directory with --data-dir."
        )
    settings = _settings(config_path, data_dir)
    where = settings.data_dir if data_dir is None else data_dir
    return OwnBook(
        ask(lambda: connect_reader(settings.ledger.url, where)),
        ZoneInfo(settings.timezone),
        settings,
    )


@contextmanager
def told() -> Iterator[None]:
    """End the command with a sentence where the ledger or a check inside refuses."""
    try:
        yield
    except ProxyError as error:
        raise Failed(error.message) from error
    except (LedgerError, LedgerUnavailable) as error:
        raise Failed(str(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise Failed(f"{error.filename}: {error.strerror}") from error


def ask(question: Callable[[], _Answer]) -> _Answer:
    """The answer of the ledger to one question, or Failed with its reason."""
    with told():
        return question()


def print_json(value: object) -> None:
    """Print indented JSON in UTF-8, whatever the locale; exact integers, text as it is."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_fields(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one pair a line, the values under each other."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {printable(value)}")


@contextmanager
def progress(label: str, steps: int, *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr for long work. Yields the function that moves it on.

    Nothing is shown where stderr is no terminal, or where `shown` is false.
    """
    if not shown or not sys.stderr.isatty():
        yield lambda _steps: None
        return
    with click.progressbar(length=steps, label=label, file=sys.stderr) as bar:
        yield bar.update


def own_command() -> str:
    """How to call this program again from a shell.

    That is its name where it is on the PATH, else the path it was started with.
    """
    started = Path(sys.argv[0])
    if started.name != "tollkeeper":
        return f"{shlex.quote(sys.executable)} -m proxy"
    on_path = shutil.which("tollkeeper")
    return (
        "tollkeeper"
        if on_path is not None and Path(on_path).resolve() == started.resolve()
        else shlex.quote(str(started.absolute()))
    )


def _journals(root: Path, booked: Mapping[str, int]) -> list[JournalFigures]:
    try:
        return all_figures(root, booked)
    except OSError as error:
        raise Failed(f"cannot read the journal in {root}: {error}") from error


def _settings(config_path: Path | None, data_dir: Path | None) -> Settings:
    if config_path is None:
        if data_dir is not None:
            return Settings()
        try:
            loader.find(None, os.environ)
        except loader.ConfigError:
            if BARE_DATA_DIR.is_dir():
                return Settings(data_dir=BARE_DATA_DIR)
    return load_here(config_path).settings


def _listed(messages: tuple[str, ...]) -> str:
    return (
        messages[0]
        if len(messages) == 1
        else "\n".join([f"{len(messages)} problems:", *(f"  - {message}" for message in messages)])
    )
