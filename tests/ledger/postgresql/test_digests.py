"""Names are told apart wherever one ends and the next begins."""

from proxy.ledger.postgresql.digests import digest


def test_other_names_have_another_digest() -> None:
    several = [("a", "b"), ("ab", ""), ("", "ab"), ("a", None), (None, "a"), ("a",), ("", None)]
    assert len({digest(*names) for names in several}) == len(several)
    assert digest("a", None) == digest("a", None)
