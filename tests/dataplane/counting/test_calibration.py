"""What was learned survives the process, and nothing depends on its file."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.prompt import count_prompt_of
from proxy.core.tokens.peaks import Peaks
from proxy.core.tokens.sampling import BYTES_PER_TOKEN_MAX
from proxy.dataplane.counting.calibration import Calibration
from proxy.dataplane.counting.counter import TokenCounter
from proxy.dataplane.counting.exchange_count import ExchangeCount
from proxy.dataplane.counting.vocabulary import Vocabularies


def keep(calibration: Calibration) -> None:
    content = calibration.unsaved()
    assert content is not None
    calibration.write(content)


def test_what_was_learned_is_there_after_a_restart(tmp_path: Path) -> None:
    first = Calibration(tmp_path / "calibration.json")
    first.learning("m").output.learn(210, 400, (100, 400))
    first.learning("m").learn_output_size(210)
    first.needs("o200k_base")
    first.used("u", "/v1/images", 5_000, 6_000, 7)
    keep(first)
    assert first.unsaved() is None, "nothing new since"
    again = Calibration(tmp_path / "calibration.json")
    assert again.of("m") == first.of("m")
    assert again.peaks("u", "/v1/images") == Peaks(5_000, 6_000, 7)
    assert again.vocabularies == ["o200k_base"]
    assert again.unsaved() is None


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b'{"models":{"m":{"input":"x"}}}', b"\xff", b'{"models":[]}', b'{"models":{"\xff":{}}}', b'{"version":2}',
        # these would be found out in the middle of an exchange
        b'{"models":{"m":{"input":{"by_density":[]}}}}',
        b'{"models":{"m":{"output":{"per_byte":{"first":0,"first_per":0}}}}}',
        b'{"models":{"m":{"output":{"per_byte":{"first":1,"first_per":1,"units":-1}}}}}',
        b'{"models":{"m":{"outputs":[-1]}}}', b'{"models":{"m":{"input":{"stated":-1}}}}',
        b'{"paths":{"u /v1/images":{"output_tokens":-1}}}', b'{"paths":{"u /v1/images":{"charge_nano":9223372036854775808}}}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_said_once_and_costs_only_what_it_held(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        calibration = Calibration(path)
    assert "begin uncalibrated" in caplog.text
    assert calibration.of("m").output.estimate(8, None) == 2
    calibration.learning("m")
    keep(calibration)
    assert Calibration(path).models.keys() == {"m"}


def test_a_directory_that_cannot_be_written_is_only_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calibration = Calibration(tmp_path / "gone" / "calibration.json")
    calibration.learning("m")
    with caplog.at_level(logging.WARNING):
        keep(calibration)
    assert "cannot be kept" in caplog.text


def test_the_model_least_recently_learned_of_makes_room() -> None:
    calibration = Calibration()
    for number in range(1024):
        calibration.learning(f"m-{number}")
    calibration.learning("m-0")
    calibration.learning("new")
    assert len(calibration.models) == 1024
    assert "m-0" in calibration.models and "m-1" not in calibration.models
    assert calibration.unsaved() is None, "without a path there is nothing to keep"


def test_what_answers_are_expected_to_have_follows_what_is_learned() -> None:
    calibration = Calibration()
    unknown = calibration.output_expected("m")
    for tokens in (7, 5_000):
        for _ in range(400):
            calibration.learning("m").learn_output_size(tokens)
        assert calibration.output_expected("m") == calibration.of("m").output_expected()
        assert calibration.output_expected("m") == calibration.of("m").output_expected(), "kept"
    assert calibration.output_expected("m") >= 5_000
    assert calibration.output_expected("other") == unknown


def test_looking_at_a_model_teaches_nothing() -> None:
    calibration = Calibration()
    calibration.of("m").output.learn(1, 1, (1, 1))
    assert calibration.models == {}


def test_a_stream_is_expected_to_do_as_the_last_one_did() -> None:
    calibration = Calibration()
    assert [calibration.states("up", "m", asked) for asked in (True, False)] == [True, False]
    calibration.stated("up", "m", False, True)
    calibration.stated("up", "n", True, False)
    assert (
        calibration.states("up", "m", False)
        and not calibration.states("other", "m", False)
        and not calibration.states("up", "n", True)
    )
    for number in range(10_000):
        calibration.stated("up", f"m-{number}", True, False)
    assert calibration.states("up", "m-9999", True), (
        "names come from clients: no more than a few thousand are remembered"
    )
    calibration.stated("up", "m", False, False)
    assert not calibration.states("up", "m", False), "those that are go on being learned"


def test_the_error_of_estimates_by_model() -> None:
    calibration = Calibration()
    calibration.learning("m").output.learn(200, 400, (100, 400))
    calibration.learning("never counted").input.learn(9, 9, None)
    assert calibration.errors() == {"m": -0.5}


def test_one_key_teaches_no_more_than_all_others_together() -> None:
    calibration = Calibration()
    assert all(calibration.teaches("m", "alone") for _ in range(100)), (
        "who is alone teaches as much as there is"
    )
    assert [calibration.teaches("m", key) for key in ("alone", "b", "alone")] == [True, True, False]
    assert not calibration.widely_taught("m")
    assert (
        calibration.teaches("m", "c")
        and calibration.widely_taught("m")
        and not calibration.widely_taught("other")
    )
    assert sum(calibration.teaches("m", "b") for _ in range(200)) > 80, "and others catch up"
    assert all(calibration.teaches(f"m-{number}", "a") for number in range(3000))


def test_a_padded_prompt_lowers_an_uncounted_one_no_further_than_text_can_be(
    tmp_path: Path,
) -> None:
    """Forty padded answers to one key made everybody's large prompts four times cheaper."""
    counter = TokenCounter(Vocabularies(tmp_path), Calibration())
    for _ in range(40):
        counter.calibration.learning("m").input.learn(10, 100_000, None)
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "word " * 400_000}]}
    ).encode()
    call = read_call("/v1/chat/completions", body)
    assert (
        ExchangeCount(
            counter, "up", count_prompt_of, call, (), hidden=False, asked=True, counted=True
        ).prompt(body)
        >= len(body) // BYTES_PER_TOKEN_MAX
    )
