"""Under which name a path is known."""

import pytest

from proxy.dataplane.routes import canonical, is_page, route_label


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/ui", "/ui"),
        ("/ui/records/x", "/ui"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/healthz", "/healthz"),
        ("/v1/usage/records/x", "/v1/usage/records/{id}"),
        ("/v1/models/a/b", "/v1/models/{id}"),
        ("/uix", "other"),
    ],
)
def test_a_label_is_of_a_bounded_set(path: str, label: str) -> None:
    assert route_label(path, path) == label


def test_what_is_a_page_and_what_has_its_version_added() -> None:
    assert is_page("/ui") and is_page("/ui/x") and not is_page("/uix") and not is_page("/v1/ui")
    assert canonical("/usage") == canonical("/v1/usage") == "/v1/usage"
