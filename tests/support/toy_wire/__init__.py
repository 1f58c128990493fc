"""A wire of another shape, as a contributor would add one: `docs/architecture.md` says how.

It is asked with `{"model", "say", "most", "stream"}`, and answers `{"by", "said", "cost"}`, or a
stream of `{"bit"}` that ends with `{"over", "cost"}`.
"""
