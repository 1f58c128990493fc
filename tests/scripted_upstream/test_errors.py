"""Errors in the shapes of several vendors."""

from __future__ import annotations

import msgspec
import pytest

from proxy.scripted_upstream import expected
from tests.scripted_upstream.asking import QUESTION


@pytest.mark.parametrize(
    ("model", "status", "content_type", "text"),
    [
        ("demo-error-400", 400, "application/json", b'"type":"invalid_request_error"'),
        ("demo-error-401", 401, "application/json", b"Incorrect API key provided: sk-canary"),
        ("demo-error-429", 429, "application/json", b'"code":"rate_limit_exceeded"'),
        ("demo-error-500", 500, "application/json", b'"type":"server_error"'),
        ("demo-error-418", 418, "application/json", b'"type":"invalid_request_error"'),
        ("demo-error-422:mistral", 422, "application/json", b'{"object":"error","message"'),
        ("demo-error-529:anthropic", 529, "application/json", b'{"type":"error","error":{'),
        ("demo-error-422:detail", 422, "application/json", b'{"detail":'),
        ("demo-error-500:string", 500, "application/json", b'"Scripted error 500."'),
        ("demo-error-500:llamacpp", 500, "application/json", b'{"error":{"code":500,'),
        ("demo-error-500:text", 500, "text/plain; charset=utf-8", b"Scripted error 500."),
        ("demo-error-502:html", 502, "text/html; charset=utf-8", b"<!doctype html>"),
        ("demo-html", 200, "text/html; charset=utf-8", b"<!doctype html>"),
    ],
)
def test_errors_are_vendor_shaped(model, status, content_type, text):
    answer = expected(
        msgspec.json.encode({"model": model, "messages": QUESTION, "stream": True}),
        credential="sk-canary",
    )
    assert (answer.status, answer.headers[0]) == (status, ("content-type", content_type))
    assert text in answer.body
    assert (("retry-after", "1") in answer.headers) == (status == 429)
