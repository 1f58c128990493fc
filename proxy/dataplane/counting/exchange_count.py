"""One exchange's counts: its prompt, and the text of its answer where the vendor does not state it.

- A stream that is likely to end without a statement is counted while it flows, block by block.
- Of a stream that is likely to state its usage only the beginning is kept, in case it breaks off.
- Some of those that state it are counted all the same: `calibration.py` learns from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from proxy.core.dialects.contract import Call, CountPrompt, Dialect, Meter
from proxy.core.dialects.texts import Texts
from proxy.core.records.ending import OwnCount
from proxy.core.tokens.images import ImageRule, image_rule, picture_tokens
from proxy.core.tokens.learned import Learned, TextCount
from proxy.core.tokens.prompts import SOUND_BYTES_PER_TOKEN, Prompt
from proxy.core.tokens.sampling import BYTES_PER_TOKEN_MAX, windows
from proxy.core.tokens.text import EXACT_CHARS_MAX, Count
from proxy.core.usage import Outcome, Source, UsageRecord
from proxy.dataplane.counting.counter import TokenCounter
from proxy.dataplane.counting.in_thread import count_blocks, count_whole, count_windows
from proxy.dataplane.snapshot import Snapshot
from proxy.dataplane.upstream.upstream import Upstream

_T = TypeVar("_T")

# An answer's end waits so long for its count, loading included; then the answer is estimated.
WAIT_S: Final = 5.0
# Of a body that is decoded to be counted; windows are counted of a larger one.
PROMPT_BYTES_MAX: Final = 2**20
HEAD_BYTES: Final = 4096  # of text kept of a stream that is likely to state its usage
# Of text counted to learn from; a longer answer teaches nothing.
SAMPLE_BYTES: Final = 64 * 1024
# Beyond a cap, for servers that keep it in their own way: some do not count what ends an answer.
CAP_SLACK_TOKENS: Final = 16
# Of our own count; what one or two tenants have taught lowers no estimate below this share.
UNTAUGHT_SHARE: Final = (3, 4)


def begin_count(
    counter: TokenCounter,
    snapshot: Snapshot,
    upstream: Upstream,
    dialect: Dialect,
    call: Call,
    *,
    asked: bool,
) -> ExchangeCount:
    """How this exchange is counted.

    `asked`: its stream is asked for its usage, by the client or by us.
    """
    return ExchangeCount(
        counter,
        upstream.name,
        dialect.count_prompt,
        call,
        snapshot.image_rules,
        hidden=upstream.hides_reasoning(call.model),
        asked=asked,
        counted=snapshot.settings.estimates == "counted",
    )


class ExchangeCount:
    """One exchange's counts. `text_bytes_max` and `measure` are for its meter."""

    __slots__ = (
        "_asked",
        "_count_prompt",
        "_counted",
        "_counter",
        "_image_rules",
        "_known",
        "_learned",
        "_name",
        "_prompt",
        "_prompt_bytes",
        "_sampled",
        "_tasks",
        "_upstream",
        "call",
        "measure",
        "text_bytes_max",
    )

    def __init__(
        self,
        counter: TokenCounter,
        upstream: str,
        count_prompt: CountPrompt,
        call: Call,
        image_rules: Sequence[ImageRule],
        *,
        hidden: bool,
        asked: bool,
        counted: bool,
    ) -> None:
        self._counter = counter
        self._counted = counted
        self._upstream = upstream
        self._count_prompt = count_prompt
        self.call = call
        self._asked = asked
        self._name, known = counter.family(call.model)
        self._known = known and not hidden
        self._image_rules = image_rules
        self._learned = counter.calibration.of(call.model) if counted else Learned()
        self._prompt: Prompt | None = None
        self._prompt_bytes = 0
        self._tasks: list[asyncio.Task[None]] = []
        silent = (
            counted and call.stream and not counter.calibration.states(upstream, call.model, asked)
        )
        self._sampled = counted and not silent and counter.samples(self._learned, call)
        # Vectors are no text, whatever their size.
        self.measure = self._learned.output.per_byte.parts() if call.writes_text else (0, 1)
        self.text_bytes_max: int | None = HEAD_BYTES
        if silent:
            self.text_bytes_max = None
        elif self._sampled:
            self.text_bytes_max = SAMPLE_BYTES
        elif not (counted and call.stream):
            self.text_bytes_max = 0  # a JSON answer is whole when its statement is found missing

    @property
    def output_expected(self) -> int:
        """Tokens that an answer of this model is expected to have, as far as was learned."""
        if not self.call.writes_text:
            return 0
        if not self._counted:
            return self._learned.output_expected()
        return self._counter.calibration.output_expected(self.call.model)

    def prompt(self, body: bytes) -> int:
        """Takes the request's body, decoded, and counts it if that is likely to be needed.

        Returns the input tokens to go by until then, learned from bytes.
        """
        self._prompt_bytes = self.call.prompt_bytes
        if self.text_bytes_max is None or self._sampled:
            dice = self._counter.dice
            if self._prompt_bytes <= EXACT_CHARS_MAX and len(body) <= PROMPT_BYTES_MAX:
                self._count(
                    partial(
                        count_whole,
                        self._count_prompt,
                        self.call,
                        body,
                        self._name,
                        self._image_rules,
                        dice,
                    ),
                    self._take_prompt,
                    len(body),
                )
            else:
                parts = windows(body, self.call.inlined, dice.randrange)
                self._count(
                    partial(count_windows, parts, self._prompt_bytes),
                    self._take_prompt,
                    sum(map(len, parts)),
                )
        return self._by_bytes()

    def unasked(self) -> None:
        """The stream is not asked for its usage after all: its vendor has refused the question."""
        self._asked = False
        if (
            self._counted
            and self.call.stream
            and not self._counter.calibration.states(self._upstream, self.call.model, False)
        ):
            self.text_bytes_max = None

    def abandon(self) -> None:
        """Nothing is charged for this exchange, so nothing of it needs to be counted any more."""
        for task in self._tasks:
            task.cancel()

    def take(self, texts: Texts) -> None:
        """Counts the blocks that are ready, if the answer is not expected to state its usage.

        Of others nothing is counted before their end.
        """
        if self.text_bytes_max is None:
            self._take_blocks(texts)
        # Else they are kept until the end; text_bytes_max bounds their number.

    async def over(self, meter: Meter) -> OwnCount | None:
        """Counts an answer that is over and has not stated all. None: its bytes are to be used.

        Waits for the counts at most `WAIT_S`.
        """
        if not self._counted:
            return None
        texts = meter.texts
        if texts is not None:
            texts.finish()
            self._take_blocks(texts)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=WAIT_S)
            for task in late:
                task.cancel()  # the answer no longer waits for it, but others wait behind it
        return self._result(meter)

    def learn(self, meter: Meter, record: UsageRecord) -> None:
        """The exchange has its record: learns from what was stated, and whether it was.

        What was sampled is counted before.
        """
        if record.status is None or not 200 <= record.status < 300:
            return
        calibration = self._counter.calibration
        if self.call.max_tokens is not None and self._went_beyond_cap(record):
            calibration.went_beyond(self._upstream, self.call.model)
        if not self._counted:
            return
        whole = record.input_source is Source.REPORTED and record.output_source is Source.REPORTED
        # A client may have left between the end of the text and the statement.
        silent = not whole and record.outcome is Outcome.COMPLETED
        if (
            self.call.stream
            and (whole or silent)
            and (meter.done or meter.finish_reason is not None)
        ):
            calibration.stated(self._upstream, self.call.model, self._asked, whole)
        if not whole or meter.usage is None or meter.usage.inconsistent:
            return
        if not self._sampled and not self._counter.takes_notice(self._learned):
            return
        if not calibration.teaches(self.call.model, record.team or record.key_id):
            return
        texts = meter.texts
        if (
            self._sampled
            and texts is not None
            and texts.whole
            and meter.text_known
            and not meter.doubtful
            and not self._counter.crowded
        ):
            texts.finish()
            self._take_blocks(texts)
            self._counter.start(self._learn_counted(meter, record))
        else:
            self._learn(meter, record, None, None)

    def _went_beyond_cap(self, record: UsageRecord) -> bool:
        """Whether the answer is longer than the request allows. An estimate has to say so by
        far."""
        cap, output_tokens = self.call.cap, record.output_tokens
        if cap is None or output_tokens is None:
            return False
        answers = 1 if self.call.answers is None else self.call.answers
        exact = record.output_source in (Source.REPORTED, Source.COUNTED)
        return output_tokens > cap * answers * (1 if exact else 2) + CAP_SLACK_TOKENS

    def _take_blocks(self, texts: Texts) -> None:
        """All of them in one step of the thread: an upstream may send a text a sign."""
        blocks = texts.take_blocks()
        if blocks:
            self._count(partial(count_blocks, blocks), partial(_took, texts), sum(map(len, blocks)))

    def _count(
        self, counting: Callable[[Count], _T | None], took: Callable[[_T], None], size_bytes: int
    ) -> None:
        if not self._counter.crowded:
            self._counter.calibration.needs(self._name)
            self._tasks.append(self._counter.start(self._run(counting, took), size_bytes))

    async def _run(
        self, counting: Callable[[Count], _T | None], took: Callable[[_T], None]
    ) -> None:
        found = await self._counter.vocabularies.run(self._name, counting)
        if found is not None:
            took(found)

    def _by_bytes(self) -> int:
        """Input tokens by what the body's bytes come to, its pictures and sounds by their own
        rules."""
        tokens = self._learned.input.per_byte.of(self._prompt_bytes)
        tokens = max(tokens, self._least(self._prompt_bytes, None))
        return tokens + self._media_tokens() if self.call.media else tokens

    def _least(self, size_bytes: int, tokens: int | None) -> int:
        """What a text comes to at least, by our own count of it or else by its bytes: padded
        requests must not lower everybody's estimates."""
        if self._counter.calibration.widely_taught(self.call.model):
            return 0
        share, whole = UNTAUGHT_SHARE
        return size_bytes // BYTES_PER_TOKEN_MAX if tokens is None else tokens * share // whole

    def _media_tokens(self) -> int:
        """What the pictures and sounds of the request itself count as."""
        call = self.call
        tokens = -(-call.sound_bytes // SOUND_BYTES_PER_TOKEN)
        if call.pictures:
            rule = image_rule(call.model, self._image_rules)
            tokens += sum(
                picture_tokens(rule, picture.size, low=picture.low) for picture in call.pictures
            )
        return tokens

    def _take_prompt(self, prompt: Prompt) -> None:
        self._prompt = prompt

    def _result(self, meter: Meter) -> OwnCount:
        learned, prompt, texts = self._learned, self._prompt, meter.texts
        text_tokens = (
            texts.tokens(meter.text_bytes) if texts is not None and meter.text_known else None
        )
        input_known = self._known and prompt is not None and prompt.exact and learned.input.agrees()
        # The prompt may be in an echoed text, or not: some vendors leave `echo` unread. So all of
        # it is charged, and called an estimate.
        output_known = (
            self._known
            and not self.call.echo
            and text_tokens is not None
            and texts is not None
            and texts.whole
            and texts.counting.exact
            and learned.output.agrees()
        )
        input_tokens = learned.input.from_count(
            None if prompt is None else (prompt.tokens, prompt.characters)
        )
        if input_tokens is None or prompt is None:
            input_tokens = self._by_bytes()
        else:
            input_tokens = max(input_tokens, self._least(self._prompt_bytes, prompt.tokens)) + (
                self._media_tokens() if prompt.sampled else 0
            )
        if not meter.text_known:
            output_tokens = meter.output_measure  # what could not be read counts with its bytes
        else:
            seen = (
                None
                if text_tokens is None or texts is None
                else (text_tokens, texts.characters(meter.text_bytes))
            )
            output_tokens = max(
                learned.output.estimate(meter.text_bytes, seen),
                self._least(meter.text_bytes, text_tokens),
            )
        return OwnCount(
            input_tokens=prompt.tokens if input_known and prompt is not None else input_tokens,
            output_tokens=text_tokens
            if output_known and text_tokens is not None
            else output_tokens,
            input_exact=input_known,
            output_exact=output_known,
        )

    async def _learn_counted(self, meter: Meter, record: UsageRecord) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)
        texts, prompt = meter.texts, self._prompt
        assert texts is not None
        output = texts.counting.tokens if texts.counting.exact else None
        self._learn(
            meter,
            record,
            None if prompt is None else (prompt.tokens, prompt.characters),
            None if output is None else (output, texts.counting.characters),
            input_exact=prompt is not None and prompt.exact,
        )

    def _learn(
        self,
        meter: Meter,
        record: UsageRecord,
        input_counted: TextCount | None,
        output_counted: TextCount | None,
        *,
        input_exact: bool = False,
    ) -> None:
        """Images, sounds and files say nothing about text, so such prompts teach nothing; nor does
        an answer in which nothing can be seen, or that holds its prompt."""
        assert record.input_tokens is not None and record.output_tokens is not None
        learned = self._counter.calibration.learning(self.call.model)
        if not self.call.media and not (self._prompt is not None and self._prompt.guessed):
            learned.input.learn(
                record.input_tokens, self._prompt_bytes, input_counted, exact=input_exact
            )
        if (
            record.audio_output_tokens is None or record.audio_output_tokens == 0
        ) and not self.call.echo:
            if meter.text_known and meter.text_bytes and not meter.doubtful:
                learned.output.learn(record.output_tokens, meter.text_bytes, output_counted)
            learned.learn_output_size(record.output_tokens)


def _took(texts: Texts, found: Sequence[tuple[str, int]]) -> None:
    for block, tokens in found:
        texts.counting.counted(block, tokens)
