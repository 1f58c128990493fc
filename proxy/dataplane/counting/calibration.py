"""Keeps what has been learned of each model, in memory and in a file between two lives.

The file is a cache: without it estimates begin where they began at first. It names models and holds
sums; nothing of any request is in it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, Literal

import msgspec

from proxy.core.model_names import caseless
from proxy.core.tokens.learned import ANSWERS_TRUSTED, Learned
from proxy.core.tokens.peaks import Peaks

FILE: Final = "calibration.json"
_LOG = logging.getLogger("tollkeeper.calibration")
# Names come from clients; only those answered with a statement of usage are learned.
_MODELS_MAX = 1024
_STATING_MAX = 4096
_BEYOND_CAPS_MAX = 4096
_PATHS_MAX = 1024  # the config names them; those of configs before are forgotten first
_TEACHERS_MAX = 256  # tenants of one model that are told apart
_TEACHERS_MANY = 3


class _File(msgspec.Struct):
    version: Literal[1] = 1
    vocabularies: list[
        str
    ] = []  # that were needed: loaded at the next start, before anyone waits for them
    models: dict[str, Learned] = {}
    paths: dict[str, Peaks] = {}  # by upstream and path of `passthrough`


class Calibration:
    """Lives on the event loop. `path` None keeps nothing."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._file = _File()
        self._stating: dict[tuple[str, str, bool], bool] = {}
        self._beyond_caps: dict[tuple[str, str], None] = {}
        self._teachers: dict[str, dict[str, int]] = {}
        self._outputs_expected: dict[str, int] = {}  # worked out since it was last learned of
        self._changed = False
        if path is not None:
            self._file = _read(path)

    @property
    def models(self) -> dict[str, Learned]:
        """By model, the one learned of last at the end."""
        return self._file.models

    @property
    def vocabularies(self) -> list[str]:
        """Vocabularies that counting has needed, in this life or the one before."""
        return self._file.vocabularies

    def of(self, model: str) -> Learned:
        """What is known of a model; of an unknown one, what is assumed of any. To be read only."""
        return self._file.models.get(model) or Learned()

    def learning(self, model: str) -> Learned:
        """The same, to be learned into. The model least recently learned of makes room."""
        models = self._file.models
        self._outputs_expected.pop(model, None)
        learned = models.pop(model, None)
        if learned is None:
            learned = Learned()
            if len(models) >= _MODELS_MAX:
                forgotten = next(iter(models))
                del models[forgotten]
                self._outputs_expected.pop(forgotten, None)
        models[model] = learned
        self._changed = True
        return learned

    def output_expected(self, model: str) -> int:
        """Tokens that an answer of this model is expected to have (`Learned.output_expected`).

        Most requests learn nothing, so it is worked out after those that do.
        """
        expected = self._outputs_expected.get(model)
        if expected is None:
            expected = self.of(model).output_expected()
            if model in self._file.models:  # others are clients' inventions, and cost nothing
                self._outputs_expected[model] = expected
        return expected

    def errors(self) -> dict[str, float]:
        """By model: how far estimates were from what was stated. Any thread may read it.

        It is (estimated - stated) / stated, over the sums of input and output.
        """
        found = {}
        for model, learned in self._file.models.copy().items():
            estimated = learned.input.estimated + learned.output.estimated
            stated = learned.input.stated + learned.output.stated
            if stated:
                found[model] = (estimated - stated) / stated
        return found

    def needs(self, vocabulary: str) -> None:
        """Counting has needed this vocabulary."""
        if vocabulary not in self._file.vocabularies:
            self._file.vocabularies.append(vocabulary)
            self._changed = True

    def states(self, upstream: str, model: str, asked: bool) -> bool:
        """Whether a stream of this model is likely to state its usage.

        It is if the last one did; before any was seen, if it was asked.
        """
        return self._stating.get((upstream, model, asked), asked)

    def stated(self, upstream: str, model: str, asked: bool, stated: bool) -> None:
        """A stream has come to its end, with or without a statement."""
        if len(self._stating) < _STATING_MAX or (upstream, model, asked) in self._stating:
            self._stating[upstream, model, asked] = stated

    def teaches(self, model: str, tenant: str) -> bool:
        """Whether an answer to this team, or key without one, is to be learned from.

        Where others use the model too, none teaches more than all of them together: a tenant that
        fills requests with what is no text must not lower everybody's estimates.
        """
        if model not in self._teachers and len(self._teachers) >= _MODELS_MAX:
            del self._teachers[next(iter(self._teachers))]
        tenants = self._teachers.setdefault(model, {})
        own = tenants.get(tenant, 0)
        others = sum(tenants.values()) - own
        if (others and own >= max(ANSWERS_TRUSTED, others)) or (
            tenant not in tenants and len(tenants) >= _TEACHERS_MAX
        ):
            return False
        tenants[tenant] = own + 1
        return True

    def widely_taught(self, model: str) -> bool:
        """Whether several tenants have taught what is known of this model, in this life."""
        return len(self._teachers.get(model, ())) >= _TEACHERS_MANY

    def keeps_caps(self, upstream: str, model: str) -> bool:
        """Whether to believe the cap of a request: no answer of this model went beyond one."""
        return not self._beyond_caps or (upstream, caseless(model)) not in self._beyond_caps

    def went_beyond(self, upstream: str, model: str) -> None:
        """An answer was longer than its request allows. Of too many models the first is
        forgotten."""
        if len(self._beyond_caps) >= _BEYOND_CAPS_MAX:
            del self._beyond_caps[next(iter(self._beyond_caps))]
        self._beyond_caps[upstream, caseless(model)] = None

    def peaks(self, upstream: str, path: str) -> Peaks:
        """What answers of a passed path have used. To be read only."""
        return self._file.paths.get(f"{upstream} {path}") or Peaks()

    def used(
        self,
        upstream: str,
        path: str,
        input_tokens: int,
        output_tokens: int,
        charge_nano: int | None,
    ) -> None:
        """An answer of a passed path has stated its use. The path least recently used makes
        room."""
        paths = self._file.paths
        peaks = paths.pop(f"{upstream} {path}", None)
        if peaks is None:
            peaks = Peaks()
            if len(paths) >= _PATHS_MAX:
                del paths[next(iter(paths))]
        peaks.learn(input_tokens, output_tokens, charge_nano)
        paths[f"{upstream} {path}"] = peaks
        self._changed = True

    def unsaved(self) -> bytes | None:
        """The file's new content if there is something new to keep, for `write`; else None."""
        if self._path is None or not self._changed:
            return None
        self._changed = False
        return msgspec.json.encode(self._file)

    def write(self, content: bytes) -> None:
        """Replaces the file as a whole. Blocks: to be called in a thread, or at the end. A failure
        is logged; nothing depends on it."""
        assert self._path is not None
        beside = self._path.with_suffix(".new")
        try:
            beside.write_bytes(content)
            beside.replace(self._path)
        except OSError as error:
            _LOG.warning(
                "what was learned for estimates cannot be kept in %s: %s",
                self._path,
                error.strerror or error,
            )


def _read(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return _File()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _LOG.warning("%s cannot be read, so estimates begin uncalibrated: %s", path, error)
        return _File()
