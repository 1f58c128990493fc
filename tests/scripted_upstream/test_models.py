"""What a model's name decides beyond the vendor's shape."""

from __future__ import annotations

from proxy.scripted_upstream import pieces
from tests.scripted_upstream.asking import ask, whole


def test_the_rest_of_the_table():
    assert len(pieces(ask("demo-long:30").text)) == 30
    assert whole(ask("demo-substitute"))["model"] == "demo-other"
    assert whole(ask("demo-json", stream=True))["object"] == "chat.completion"
    assert ask("demo-comments", stream=True).body.count(b": OPENROUTER PROCESSING\n\n") == 10
    assert (
        ask("demo-slow").pace_s,
        ask("demo-slow:0.5").pace_s,
        ask("demo-slow:nonsense").pace_s,
    ) == (0.05, 0.5, 0.05)
    assert ask("demo-redirect").status == 307
