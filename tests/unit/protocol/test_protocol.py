"""The contract between controller and worker: the table of codes, and documents of other versions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol import exitcodes, operation, report
from model_gallery.protocol.report import MAX_RESULT_BYTES, PublishedFile, ResultLine


def test_one_code_and_one_class_for_each_reason() -> None:
    assert len({row.code for row in exitcodes.TABLE}) == len(exitcodes.TABLE)
    assert len({row.reason for row in exitcodes.TABLE}) == len(exitcodes.TABLE)
    assert all(0 < row.code < 128 for row in exitcodes.TABLE)
    assert exitcodes.by_code(30).reason is Reason.CHECKSUM_MISMATCH
    assert exitcodes.by_code(1) is None


def test_only_the_stalled_are_looked_at_again_by_time() -> None:
    transient = [row for row in exitcodes.TABLE if row.klass is exitcodes.Class.TRANSIENT]

    assert all(row.recheck_seconds is None for row in transient)


def test_a_field_of_a_later_version_is_ignored() -> None:
    owner = {"namespace": "n", "name": "m", "uid": "u", "later": 1}
    text = json.dumps({"kind": "remove", "owner": owner, "later": [1]})

    assert operation.parse(text).owner.uid == "u"


@pytest.mark.parametrize("text", ["", "{", "{}", '{"kind": "format"}', '{"kind": "install"}'])
def test_what_is_no_operation_is_refused(text: str) -> None:
    with pytest.raises(StalledError) as caught:
        operation.parse(text)

    assert caught.value.reason is Reason.INVALID_SPEC


@pytest.mark.parametrize("text", ["", "INFO hello", "{}", '{"type": "other"}', "[1]", "null"])
def test_a_foreign_line_is_no_report(text: str) -> None:
    assert report.parse_line(text) is None


@given(st.text(max_size=3000), st.integers(min_value=0, max_value=16))
def test_a_termination_message_fits_and_can_be_read(message: str, count: int) -> None:
    """The kubelet cuts at 4096 bytes, and half a JSON text is none."""
    files = [PublishedFile(path="p" * 900, size_bytes=1, sha256="a" * 64)] * count
    line = ResultLine(reason=Reason.SUCCEEDED, message=message, files=tuple(files), files_total=99)

    text = line.termination_message()

    assert len(text.encode()) <= MAX_RESULT_BYTES
    found = report.parse_line(text)
    assert isinstance(found, ResultLine)
    assert (found.reason, found.files_total) == (Reason.SUCCEEDED, 99)
