"""The process: start, listeners, reload, drain, logs. It makes every part and passes it in."""
