"""Request targets of configured URLs: exactly as written."""

from __future__ import annotations

import pytest

from nexusd.core.request_target import request_target, with_path


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://host", "/"),
        ("https://host?a=1", "/?a=1"),
        ("https://host#part", "/"),
        ("HTTPS://user:p%40ss@host:8443/a%2Fb?c=%7e#part", "/a%2Fb?c=%7e"),
        ("http://[::1]:9093/x/?", "/x/?"),
        ("https://host/a;b=c/*()'!|^`{}?q=[1]", "/a;b=c/*()'!|^`{}?q=[1]"),
        ("https://host/ä?ö=ü", "/%C3%A4?%C3%B6=%C3%BC"),
    ],
)
def test_path_and_query_are_kept(url: str, target: str) -> None:
    assert request_target(url) == target


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://host", "/api/v2/alerts"),
        ("http://host/", "/api/v2/alerts"),
        ("http://host/a%2Fb/", "/a%2Fb/api/v2/alerts"),
        ("http://host/am?x=y", "/am/api/v2/alerts"),
    ],
)
def test_a_path_is_appended_in_place_of_the_query(url: str, target: str) -> None:
    assert with_path(request_target(url), "api/v2/alerts") == target
