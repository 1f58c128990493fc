"""The benchmark: `make bench`. Timing lives here and nowhere in the tests."""
