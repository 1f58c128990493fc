"""A ledger that one process has alone has no other processes to hear of."""

from proxy.ledger.sharing import connect_sharing


def test_a_ledger_of_one_process_is_shared_with_nobody():
    assert connect_sharing("sqlite:ledger.db") is None
