"""Listings and refusals of S3 stores."""

from __future__ import annotations

from fuzz.targets.guard import allowed
from model_gallery.sources import s3

_NAMESPACE = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_PAGE = (
    b'<?xml version="1.0"?><ListBucketResult ' + _NAMESPACE + b"><IsTruncated>true</IsTruncated>"
    b"<Contents><Key>m/a.gguf</Key><Size>7</Size><ETag>&quot;abc&quot;</ETag></Contents>"
    b"<Contents><Key>m/</Key><Size>0</Size></Contents>"
    b"<NextContinuationToken>t</NextContinuationToken></ListBucketResult>"
)
SEEDS = (
    _PAGE,
    b"<ListBucketResult><Contents><Key>\xc3\xa9</Key><Size>9</Size></Contents></ListBucketResult>",
    b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>",
    b"<Error><Code>SlowDown</Code></Error>",
    b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
)
_STATUSES = (400, 403, 404, 503)


def one(data: bytes) -> None:
    """A page, and the body of a refusal."""
    with allowed():
        for key, size, _ in s3.parse_listing(data).objects:
            assert key
            assert size >= 0
    for status in _STATUSES:
        assert s3._refusal(data, status).message.encode()
