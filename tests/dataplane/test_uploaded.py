"""What is looked at in a body that streams on where objects have owners."""

from __future__ import annotations

import pytest

from proxy.core.errors import ProxyError
from proxy.dataplane.named_objects import Claimant
from proxy.dataplane.owners import Owners
from proxy.dataplane.uploaded import FormFields, NoJson


@pytest.mark.parametrize("body", [b"{", b" \t[1", "\ufeff{".encode(), '{"a"'.encode("utf-16-le")])
def test_json_under_another_name_is_refused_in_any_pieces(body: bytes) -> None:
    check = NoJson()
    with pytest.raises(ProxyError):
        for byte in body:
            check.feed(bytes([byte]))


def test_a_form_is_refused_where_the_part_ends_that_names_anothers_object() -> None:
    owners = Owners()
    owners.learn("v", "research", "alice", ["file-1"])
    claimant = Claimant(owners, "v", "sales", "bob")
    check = FormFields(b"multipart/form-data; boundary=x7", claimant)
    check.feed(b"--x7\r\nContent-Disposition: form-data; name=a\r\n\r\nfile-1\r\n--x")
    with pytest.raises(ProxyError) as refused:
        check.feed(b"7\r\n")
    assert refused.value.status == 404


def test_a_form_without_its_end_is_refused_since_its_last_part_was_not_looked_at() -> None:
    claimant = Claimant(Owners(), "v", "sales", "bob")
    for rest, whole in ((b"\r\n--x7--\r\n", True), (b"", False)):
        check = FormFields(b"multipart/form-data; boundary=x7", claimant)
        check.feed(b"--x7\r\nContent-Disposition: form-data; name=a\r\n\r\nfile-1" + rest)
        if whole:
            check.end()
            continue
        with pytest.raises(ProxyError) as refused:
            check.end()
        assert refused.value.status == 415
