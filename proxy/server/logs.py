"""Log lines on stderr: text at a terminal, else one JSON object a line.

No line holds a credential, a header or content; two guards see to that. First, a library that
cannot read a message logs a quote of it, key and all. So every quoted literal is taken out of the
lines of other packages; and an exception shows its type and place only, unless its class is known
to say nothing of the traffic. Second, each finished line passes `redact`, which takes out
everything that still looks like a credential.
"""

from __future__ import annotations

import datetime
import logging
import re
import sqlite3
import traceback
from typing import Literal, TextIO

import msgspec

from proxy.server.log_output import LogOutput

# a traceback of 100 frames; nothing that a client sends may make a line longer
LINE_CHARACTERS_MAX = 16_384
_CHAIN_MAX = 8  # exceptions told of one chain or group
_OWN = ("proxy", "tollkeeper")

# A header that holds a credential takes the rest of its line. A setting takes its value where it is
# given like one (`secret=…`, `"secret": "…"`): a message such as "keys.alice.secret: is empty"
# stays whole.
_HEADER = re.compile(
    r"""\b((?:proxy-)?authorization|(?:set-)?cookie|(?:x-)?api-key)(\\?['"]?\s*[:=,]\s*)[^\r\n]+""",
    re.IGNORECASE,
)
_SETTING = re.compile(
    r"""(api_?key|secret|token|password)(['"]?\s*(?:=\s*['"]?|:\s*['"]))[^\s'"&,;]+""",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(bearer|basic)(\s+|%20|\+)[^\s'\",;&]+", re.IGNORECASE)
_KEY = re.compile(r"(?<![A-Za-z0-9])(sk|pk|rk|gsk|xai)([-_])[A-Za-z0-9_\-.]{4,}")
_LITERAL = re.compile(r"""b?'(?:[^'\\\n]|\\.)*'|b?"(?:[^"\\\n]|\\.)*\"""")
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_WORD = re.compile(r"[\w.:/@*+-]+")


def configure(
    format: Literal["auto", "text", "json"], stream: TextIO, *, level: int = logging.INFO
) -> None:
    """Send every logger of the process to `stream`, in place of an earlier set-up.

    The command that runs calls it once.
    """
    text = format == "text" or (format == "auto" and stream.isatty())
    handler = LogOutput(stream)
    handler.setFormatter(_TextFormatter() if text else _JsonFormatter())
    logging.basicConfig(handlers=[handler], level=level, force=True)


def redact(text: str) -> str:
    """The text without anything that looks like a credential.

    It may take too much, never too little: `Authorization:` takes the rest of its line.
    """
    text = _HEADER.sub(r"\1\2***", text)
    text = _SETTING.sub(r"\1\2***", text)
    text = _SCHEME.sub(r"\1 ***", text)
    return _KEY.sub(r"\1\2***", text)


class _TextFormatter(logging.Formatter):
    """A line such as `2026-11-22T01:02:03.004Z WARNING tollkeeper.requests: request id=…`."""

    def format(self, record: logging.LogRecord) -> str:
        words = [f"{_time(record)} {record.levelname} {record.name}: {_message(record)}"]
        words += [
            f"{name}={_word(value)}" for name, value in _fields(record).items() if value is not None
        ]
        exception = _exception(record)
        return " ".join(words)[:LINE_CHARACTERS_MAX] + (
            f"\n{exception}" if exception is not None else ""
        )


class _JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, the line's own fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        line.update(_fields(record))
        exception = _exception(record)
        if exception is not None:
            line["exception"] = exception
        return msgspec.json.encode(line).decode()


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    if record.name.partition(".")[0] not in _OWN:
        message = _LITERAL.sub("'…'", message)
    return _clean(message).replace("\n", " ")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", None)
    if not isinstance(fields, dict):
        return {}
    return {
        name: _clean(value) if isinstance(value, str) else value for name, value in fields.items()
    }


def _exception(record: logging.LogRecord) -> str | None:
    error = record.exc_info[1] if record.exc_info is not None else None
    return None if error is None else _clean(_describe(error))


def _clean(text: str) -> str:
    """The text bounded, without credentials and without unwritable or control characters."""
    return _UNWRITABLE.sub("�", redact(text[:LINE_CHARACTERS_MAX]))


def _word(value: object) -> str:
    """A value of `name=value`: bare where it is one word, else quoted.

    So no value can imitate another field.
    """
    text = str(value)
    return text if _WORD.fullmatch(text) else msgspec.json.encode(text).decode()


def _describe(error: BaseException) -> str:
    """The traceback of an exception and of its causes.

    A message appears only where `_speaks` allows it: most messages quote the wrong value, which may
    be a client's.
    """
    parts: list[str] = []
    waiting: list[BaseException] = [error]
    while waiting and len(parts) < _CHAIN_MAX:
        current = waiting.pop()
        frames = "".join(traceback.format_tb(current.__traceback__))
        name = f"{type(current).__module__}.{type(current).__qualname__}"
        parts.append(f"{frames}{name}: {current}" if _speaks(current) else f"{frames}{name}")
        cause = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
        if cause is not None:
            waiting.append(cause)
    return "\nbecause of\n".join(parts)


def _speaks(error: BaseException) -> bool:
    """Whether the message is the system's or our own: it names files, addresses, settings."""
    return (
        isinstance(error, OSError | sqlite3.Error)
        or type(error).__module__.partition(".")[0] in _OWN
    )
