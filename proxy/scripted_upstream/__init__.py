"""A scripted OpenAI-compatible upstream for the demo and the tests.

It is a real HTTP server; the model's name chooses its behaviour. It serves POST
/v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses, /v1/messages, GET /v1/models
and /v1/models/{id}, also without /v1, and answers 404 to the others.

The answer depends on the request's bytes alone: `expected(body)` gives it beforehand, and the
server writes exactly that. A token is a piece of text: a word, two Chinese characters or a sign,
with the space before it (`replies.pieces`). Each is one event of a stream.

| model | what it does |
|---|---|
| demo-chat, and any name not listed here | OpenAI's rules: a stream states usage in a last event
only with include_usage, the others say `usage: null` then |
| demo-reports | usage always, on the event with the finish reason |
| demo-silent | never states usage |
| demo-cumulative | usage on every event, counting up |
| demo-tools | calls every tool it is given, or get_weather; other models call the first tool given.
A tool's answer is answered in text |
| demo-reasoning | reasoning aloud (reasoning_content); `reasoning_effort` low, medium, high adds
16, 64, 256 hidden tokens with any model |
| demo-slow[:seconds] | so long between events (0.05) |
| demo-long[:words] | so many words (200) |
| demo-substitute | another model's name in the answer |
| demo-json | a JSON answer even to `stream: true` |
| demo-crlf, demo-cr, demo-comments | other line ends; a comment before each event |
| demo-gzip, demo-deflate | a compressed answer, each event readable on arrival |
| demo-error-STATUS[:style] | that status; style openai, mistral, anthropic, detail, string,
llamacpp, text, html. 401 and 403 quote the key |
| demo-error-event[:k] | after k events (3) an error inside the 200 answer, then [DONE] |
| demo-cut[:k], demo-close[:k], demo-stall[:k] | after k events a TCP reset, an ordinary close,
silence; JSON answers: after half of the body |
| demo-no-head, demo-hang | closes without an answer; never answers |
| demo-nodone | a stream without [DONE] |
| demo-html, demo-redirect | an HTML page with 200; a 307 to another host |
| deepseek-v3.2, gemini-3-flash-preview | ModelMax's events: delta and index only |
| qwen3-max-2026-01-23 | Sky-ze's: the choices first |
| gpt-4o, claude-sonnet-4-5 and others of their documents | Modelverse's and api000's:
system_fingerprint, `logprobs: null`, service_tier if asked for |
| deepseek-chat, gemini-2.5-pro, grok-3, kimi-k2, llama-3.3-…, mistral-… | where those vendors
themselves put usage |

Every model knows n, stop, max_tokens and max_completion_tokens (finish reason length), logprobs,
response_format, tools and tool_choice, modalities with audio, multimodal messages.
`[content_filter]` in the last user message ends with that finish reason. Questions of the vendors'
documents get the documented answers, others are repeated; earlier messages are echoed.
"""

from proxy.scripted_upstream.answers import ScriptedAnswer, expected
from proxy.scripted_upstream.log import AnswerLine, RequestLine, read_log
from proxy.scripted_upstream.models import Fault
from proxy.scripted_upstream.replies import pieces
from proxy.scripted_upstream.server import RunningUpstream, Script, app, serving

__all__ = [
    "AnswerLine",
    "Fault",
    "RequestLine",
    "RunningUpstream",
    "Script",
    "ScriptedAnswer",
    "app",
    "expected",
    "pieces",
    "read_log",
    "serving",
]
