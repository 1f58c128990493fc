"""Dialects: how an API is asked and how it says what it used. One module or package each, found by
its name; `openai_chat` is the first."""
