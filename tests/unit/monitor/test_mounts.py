"""Where a path lies inside its file system."""

from __future__ import annotations

import pytest

from model_gallery.monitor import mounts
from model_gallery.monitor.mounts import Place

TABLE = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 253:7 /pvc/models /models ro,relatime - ext4 /dev/vdb ro
41 22 253:7 /pvc/models/team /srv/with\040blank ro,relatime - ext4 /dev/vdb ro
42 40 0:51 / /models/cache rw - tmpfs tmpfs rw
43 22 254:0 /elsewhere /twice rw - ext4 /dev/vda rw
44 22 253:7 / /twice rw - ext4 /dev/vdb rw

no mount
"""
MOUNTS = mounts.parse(TABLE.splitlines())
VOLUME = Place("253:7", "/pvc/models")


@pytest.mark.parametrize(
    ("path", "want"),
    {
        "/models/a.gguf": Place("253:7", "/pvc/models/a.gguf"),
        "/models/a.gguf (deleted)": Place("253:7", "/pvc/models/a.gguf"),
        "/srv/with blank/x/b.gguf": Place("253:7", "/pvc/models/team/x/b.gguf"),
        "/models/cache/a.gguf": Place("0:51", "/a.gguf"),
        "/modelsofmine/a.gguf": Place("254:0", "/modelsofmine/a.gguf"),
        "/models": VOLUME,
        "/twice/f": Place("253:7", "/f"),
        "socket:[1]": None,
    }.items(),
)
def test_place(path: str, want: Place | None) -> None:
    """The nearest mount holds a path, and of two at one point the later."""
    assert mounts.place(path, MOUNTS) == want


@pytest.mark.parametrize(
    ("found", "want"),
    [
        (Place("253:7", "/pvc/models/team/x.gguf"), "team/x.gguf"),
        (Place("253:7", "/pvc/models2/x.gguf"), ""),
        (Place("254:0", "/pvc/models/team/x.gguf"), ""),
    ],
)
def test_below(found: Place, want: str) -> None:
    assert mounts.below(found, VOLUME) == want
