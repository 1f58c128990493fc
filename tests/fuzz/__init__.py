"""Whatever bytes come: nothing raises, nothing reads differently in other pieces, and the work
grows no faster than the input."""
