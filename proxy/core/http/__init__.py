"""HTTP as bytes: headers, framing, events, content codings, and what must not pass."""
