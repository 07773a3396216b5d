"""Mirrors: where a URL is fetched from instead, for companies and clusters without internet."""

from __future__ import annotations

from collections.abc import Sequence

from model_gallery.api.v1alpha1.gallery import Rewrite
from model_gallery.artifact import reference

__all__ = ["rewrite"]


def rewrite(url: str, rules: Sequence[Rewrite]) -> str:
    """Returns the URL to fetch: the first rule whose prefix the URL has replaces that prefix.

    Args:
        url: http(s) URL, resolved from its short form.

    Raises:
        StalledError: InvalidSpec, where the replacement leads to no URL.
    """
    for rule in rules:
        if url.startswith(rule.prefix):
            return reference.parse(rule.replacement + url[len(rule.prefix) :]).url
    return url
