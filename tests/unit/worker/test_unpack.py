"""Hostile archives, each made here: what is refused, how it is told, and that nothing gets outside."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from model_gallery.api.conditions import Reason
from model_gallery.artifact import archive as rules
from model_gallery.artifact.digest import sha256_of_bytes
from model_gallery.errors import StalledError
from model_gallery.sources.base import Packed, Packing
from model_gallery.storage.volume import Volume
from model_gallery.worker.unpack import Unpack
from support.archivemake import COMPRESSED, pax_record, tar, tar_block, tar_raw, zipped

STAGING = (".modelgallery", "staging", "u", "p.unpacked")
X = tar_block(b"x", b"content of x")
PLAIN = Packed(Packing.TREE, "archive a.tar")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "around" / "volume"
    folder.mkdir(parents=True)
    return folder


def unpack(root: Path, packed: bytes, how: Packed = PLAIN) -> dict[str, bytes]:
    """Returns the members by name, as they lie in staging."""
    (root / "packed").write_bytes(packed)
    volume = Volume(root)
    try:
        found = Unpack(volume, STAGING).run(how, ("packed",)).files
    finally:
        volume.close()
    assert len({one.name for one in found}) == len(found)
    members = {one.name: root.joinpath(*one.staged).read_bytes() for one in found}
    for one in found:
        assert (len(members[one.name]), sha256_of_bytes(members[one.name])) == (
            one.size_bytes,
            one.sha256,
        )
        assert stat.S_IMODE(root.joinpath(*one.staged).stat().st_mode) == 0o644
    return members


def only_staging(root: Path) -> bool:
    """Whether nothing lies anywhere around the volume but the archive and numbered regular files."""
    for path in root.parent.rglob("*"):
        inside = path.relative_to(root).parts if path.is_relative_to(root) else ()
        known = inside in {(), ("packed",), *(STAGING[:depth] for depth in range(1, 5))}
        numbered = inside[:-1] == STAGING and inside[-1].endswith(".member")
        if not (known or (numbered and path.is_file() and not path.is_symlink())):
            return False
    return True


def pax(*records: tuple[str, str], kind: bytes = b"x") -> bytes:
    return tar_block(b"pax", b"".join(pax_record(*one) for one in records), kind=kind)


def long_name(name: bytes) -> bytes:
    return tar_block(b"././@LongLink", name + b"\0", kind=b"L")


BAD_NAMES = [
    "../x",
    "../../../etc/passwd",
    "a/../../x",
    "a/./x",
    "a//x",
    "/etc/passwd",
    "..\\x",
    "C:/x",
    "D:x",
    "\\\\host\\share\\x",
    "a/..",
    "..",
    "x\ny",
    ".modelgallery/receipts/u.json",
    "./.modelgallery/x",
    "lost+found/x",
    "n" * 256,
    "/".join(["d"] * 11) + "/x",
]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("way", ["pax", "gnu", "zip"])
def test_names_that_leave_the_folder_are_refused(root: Path, name: str, way: str) -> None:
    """T04, T18, T20, T21 and T24: by every way in which an archive can say a name."""
    packed = {
        "pax": lambda: tar_raw(X, pax(("path", name)), tar_block(b"harmless", b"x")),
        "gnu": lambda: tar_raw(X, long_name(name.encode()), tar_block(b"harmless", b"x")),
        "zip": lambda: zipped([("x", b"x"), (name, b"x")]),
    }[way]()

    with pytest.raises(StalledError) as caught:
        unpack(root, packed)

    assert caught.value.reason is Reason.UNSAFE_PATH
    assert caught.value.message.startswith("archive a.tar: member")
    assert only_staging(root)


UNSAFE = {
    "a symbolic link": (tar_block(b"d", kind=b"2", link=b"../evil"), "'d' is a symbolic link"),
    "a hard link": (tar_block(b"d", kind=b"1", link=b"x"), "'d' is a hard link"),
    "a device": (tar_block(b"d", kind=b"3"), "'d' is a device"),
    "a block device": (tar_block(b"d", kind=b"4"), "'d' is a device"),
    "a FIFO": (tar_block(b"d", kind=b"6"), "'d' is a FIFO"),
    "a sparse file": (tar_block(b"d", kind=b"S"), "'d' is a sparse file"),
    "a long link": (
        tar_block(b"l", b"x", kind=b"K") + tar_block(b"d", kind=b"2"),
        "'d' is a link with a long name",
    ),
    "an unknown kind": (tar_block(b"d", kind=b"Z"), "'d' is of the unknown kind"),
    "a sparse file by pax": (pax(("GNU.sparse.major", "1")) + X, "GNU.sparse.major"),
    "a sparse size for all": (pax(("GNU.sparse.size", "9"), kind=b"g") + X, "GNU.sparse.size"),
    "a link by pax": (pax(("linkpath", "../x")) + X, "linkpath"),
    "no UTF-8": (tar_block(b"\xff\xfe"), "no UTF-8"),
    "twice": (X + X, "'x' is there twice"),
    "twice, once with a dot": (X + tar_block(b"./x"), "'x' is there twice"),
    "a file below a file": (X + tar_block(b"x/y"), "'x/y' is both"),
    "a file above a file": (tar_block(b"f/y") + tar_block(b"f"), "'f' is both"),
    "a folder that is a file": (X + tar_block(b"x/", kind=b"5"), "'x' is both"),
    "a file that is a folder": (tar_block(b"f/", kind=b"5") + tar_block(b"f"), "'f' is both"),
    "a folder that leaves": (tar_block(b"../f/", kind=b"5"), "'../f'"),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_what_is_no_plain_file_in_its_place_is_refused(root: Path, case: str) -> None:
    blocks, told = UNSAFE[case]

    with pytest.raises(StalledError) as caught:
        unpack(root, tar_raw(blocks))

    assert caught.value.reason is Reason.UNSAFE_PATH
    assert told in caught.value.message
    assert only_staging(root)


SUM_WRONG = bytearray(tar_raw(X))
SUM_WRONG[0] ^= 1
FOLDER = tar_block(b"d/", kind=b"5")
LONG_LINK = tar_block(b"././@LongLink", b"y" * 150 + b"\0", kind=b"K")
BROKEN = {
    "nothing": (b"", "is cut"),
    "no archive": (b"<!doctype html>" + bytes(600), "no tar archive"),
    "a wrong sum": (bytes(SUM_WRONG), "sum of a header"),
    "no members": (bytes(1024), "holds no files"),
    "only folders": (tar_raw(tar_block(b"d/", kind=b"5")), "holds no files"),
    "cut in a header": (X + X[:100], "is cut"),
    "cut in a member": (tar_block(b"y", bytes(5000))[:3000], "is cut: it ends in member 'y'"),
    "cut in the padding": (tar_block(b"y", b"y")[:600], "padding"),
    "cut before the end": (X, "mark of its end"),
    "a huge member": (tar_raw(tar_block(b"y", b"y", size=8**11 - 1)), "more than 200 times"),
    "cut in a pax header": (pax(("path", "y" * 600))[:700], "is cut"),
    "a header for nobody": (tar_raw(X, pax(("path", "y"))), "no member"),
    "two headers for one": (tar_raw(long_name(b"a"), pax(("path", "b")), X), "two headers"),
    "a huge pax header": (tar_raw(tar_block(b"p", kind=b"x", size=1 << 30)), "1073741824 bytes"),
    "a name for all": (tar_raw(pax(("path", "../y"), kind=b"g"), X), "for all members"),
    "a link for all": (tar_raw(pax(("linkpath", "../y"), kind=b"g"), X), "for all members"),
    "two long links": (tar_raw(LONG_LINK, LONG_LINK, X), "two headers"),
    "a long link and pax": (tar_raw(LONG_LINK, pax(("path", "y")), X), "two headers"),
    "pax and a long link": (tar_raw(pax(("path", "y")), LONG_LINK, X), "two headers"),
    "a long link of nobody": (tar_raw(X, LONG_LINK), "no member"),
    "a pax name twice": (tar_raw(pax(("path", "a"), ("path", "b")), X), "says something twice"),
    "a pax length that lies": (tar_raw(tar_block(b"p", b"99 path=x\n", kind=b"x"), X), "none"),
    "pax that is none": (tar_raw(tar_block(b"p", b"\xff\xff", kind=b"x"), X), "none"),
    "a pax size below zero": (tar_raw(pax(("size", "-1")), X), "a size that is none"),
    "a folder with content": (tar_raw(tar_block(b"d", b"x", kind=b"5")), "folder with content"),
    "a cut gzip": (gzip.compress(tar([("x", os.urandom(5000))]))[:2000], "broken or cut"),
    "a gzip without its sum": (gzip.compress(tar([("x", b"x")]))[:-8], "broken or cut"),
    "a wrong gzip": (b"\x1f\x8b\x08" + bytes(100), "broken or cut"),
    "a cut bzip2": (bz2.compress(tar([("x", os.urandom(5000))]))[:2000], "broken or cut"),
    "a cut xz": (lzma.compress(tar([("x", os.urandom(5000))]))[:2000], "broken or cut"),
    "a cut zip": (zipped([("x", os.urandom(5000))])[:-30], "broken or cut"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(100), "a zstd archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(100), "a 7z archive"),
    "rar": (b"Rar!\x1a\x07\x01\0", "a rar archive"),
    "a bomb": (gzip.compress(tar([("x", bytes(8 << 20))])), "more than 200 times"),
    "a bomb of bombs": (gzip.compress(gzip.compress(bytes(8 << 20))), "no tar archive"),
    "a bomb of headers": (bz2.compress(FOLDER * 9000), "more than 200 times"),
    "a bomb behind the end": (gzip.compress(tar_raw(X) + bytes(8 << 20)), "more than 200 times"),
    "a zip bomb": (zipped([("x", bytes(8 << 20))]), "more than 200 times"),
    "xz that wants memory": (
        lzma.compress(tar_raw(X), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28}]),
        "emory",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_cut_and_inflated_archives_are_refused(root: Path, case: str) -> None:
    """T22 and T24."""
    packed, told = BROKEN[case]

    with pytest.raises(StalledError) as caught:
        unpack(root, packed)

    assert caught.value.reason is Reason.INVALID_FORMAT
    assert caught.value.message.startswith("archive a.tar: ")
    assert told in caught.value.message
    assert only_staging(root)


def test_too_many_members_are_refused(root: Path) -> None:
    assert rules.MAX_MEMBERS == 10_000
    packed = tar_raw(*(tar_block(b"%d" % number) for number in range(10_001)))

    with pytest.raises(StalledError, match="more than 10000 members"):
        unpack(root, packed)
    with pytest.raises(StalledError, match="more than 10000 members"):
        unpack(root, zipped((str(number), b"") for number in range(10_001)))


LAYER = Packed(Packing.IMAGE, "layer sha256:1")
IN_MODELS = tar_block(b"models/x", b"content of x")
LINK = tar_block(b"lib", kind=b"2", link=b"usr/lib")


@pytest.mark.parametrize(
    "beside",
    [
        LINK,
        tar_block(b"lib", kind=b"1", link=b"usr/lib"),
        tar_block(b"dev/null", kind=b"3"),
        pax(("linkpath", "../x"), ("path", "lib")) + tar_block(b"l", kind=b"2"),
        LONG_LINK + LINK,
        LONG_LINK + long_name(b"n" * 150) + LINK,
        long_name(b"n" * 150) + LONG_LINK + LINK,
        tar_block(b"n" * 90, b"a name that no path may have: \n") * 3,
        tar_block(b"usr/x\n\\", b"x"),
    ],
)
def test_beside_the_model_an_image_may_hold_what_it_likes(root: Path, beside: bytes) -> None:
    assert unpack(root, tar_raw(beside, IN_MODELS, beside), LAYER) == {"x": b"content of x"}


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        (tar_block(b"lib", b"x", kind=b"2"), "'lib' is a symbolic link"),
        (tar_block(b"lib", kind=b"S"), "'lib' is a sparse file"),
        (tar_block(b"lib", kind=b"Z"), "'lib' is of the unknown kind"),
        (pax(("GNU.sparse.major", "1")) + tar_block(b"lib"), "GNU.sparse.major"),
        (tar_block(b"\xff\xfe"), "no UTF-8"),
    ],
)
def test_what_readers_would_go_on_after_in_different_places_is_refused(
    root: Path, beside: bytes, told: str
) -> None:
    with pytest.raises(StalledError, match=r"layer sha256:1: ") as caught:
        unpack(root, tar_raw(beside, IN_MODELS), LAYER)

    assert caught.value.reason is Reason.UNSAFE_PATH
    assert told in caught.value.message
    assert only_staging(root)


def test_what_is_passed_over_has_a_bound_as_well(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rules.MAX_PASSED_OVER == 500_000
    monkeypatch.setattr(rules, "MAX_PASSED_OVER", 100)
    assert unpack(root, tar_raw(*[LINK] * 100, IN_MODELS), LAYER) == {"x": b"content of x"}

    with pytest.raises(StalledError, match="more than 100 members beside"):
        unpack(root, tar_raw(*[LINK] * 101, IN_MODELS), LAYER)


def test_whiteouts_count_like_members(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_MEMBERS", 100)
    hides = [tar_block(b"models/.wh.%d" % number) for number in range(101)]

    assert unpack(root, tar_raw(*hides[:99], IN_MODELS), LAYER) == {"x": b"content of x"}
    with pytest.raises(StalledError, match="more than 100 members"):
        unpack(root, tar_raw(*hides), LAYER)


def test_a_layer_without_anything_of_the_model_is_none(root: Path) -> None:
    assert unpack(root, tar_raw(X, LINK), LAYER) == {}


def test_a_zip_is_no_layer_of_an_image(root: Path) -> None:
    with pytest.raises(StalledError, match="no tar archive"):
        unpack(root, zipped([("models/x", os.urandom(600))]), LAYER)


def test_a_directory_of_millions_costs_no_memory(root: Path) -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *[0] * 9, 1, *[0] * 6) + b"x"
    count = 400_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry) * count, 4, 0)
    packed = b"PK\x03\x04" + entry * count + end
    tracemalloc.start()

    with pytest.raises(StalledError, match="a directory of"):
        unpack(root, packed)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_unpacking_is_done_in_constant_memory(root: Path) -> None:
    packed = gzip.compress(tar([("x", os.urandom(24 << 20))]), 1)
    (root / "packed").write_bytes(packed)
    volume = Volume(root)
    tracemalloc.start()

    Unpack(volume, STAGING).run(PLAIN, ("packed",))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    volume.close()
    assert peak < 12 << 20


def changed(packed: bytes, old: bytes, new: bytes, *, last: bool = False) -> bytes:
    place = packed.rindex(old) if last else packed.index(old)
    return packed[:place] + new + packed[place + len(old) :]


def test_a_zip_described_in_two_ways_is_refused(root: Path) -> None:
    packed = zipped([("x", b"content"), ("y", b"other")])
    other_name = changed(packed, b"x", b"z")
    other_size = changed(packed, struct.pack("<L", 7), struct.pack("<L", 9))

    for one in (other_name, other_size):
        with pytest.raises(StalledError) as caught:
            unpack(root, one)
        assert caught.value.reason is Reason.INVALID_FORMAT
    assert only_staging(root)


def test_zip_entries_that_share_bytes_are_refused(root: Path) -> None:
    """The bombs that need no nesting: one content, many directory entries."""
    packed = zipped([("x", b"content"), ("y", b"content")])
    second = packed.index(b"PK\x03\x04", 4)
    directory = packed.rindex(b"PK\x01\x02")
    offset = directory + 42
    overlapping = packed[:offset] + struct.pack("<L", 0) + packed[offset + 4 :]
    assert struct.unpack_from("<L", packed, offset) == (second,)

    with pytest.raises(StalledError, match="shares its bytes"):
        unpack(root, overlapping)


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_zip_links_and_devices_are_refused(root: Path, mode: int) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (mode | 0o777) << 16

    with pytest.raises(StalledError, match="'link' is a link or device"):
        unpack(root, zipped([("x", b"x"), (info, b"../evil")]))


def test_zip_members_that_are_encrypted_or_packed_otherwise_are_refused(root: Path) -> None:
    packed = bytearray(zipped([("x", b"content")]))
    packed[6] |= 1
    packed[packed.rindex(b"PK\x01\x02") + 8] |= 1
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", b"content")

    with pytest.raises(StalledError, match="'x' is encrypted"):
        unpack(root, bytes(packed))
    with pytest.raises(StalledError, match="other means than deflate"):
        unpack(root, buffer.getvalue())


def test_a_zip_member_with_wrong_bytes_is_refused(root: Path) -> None:
    packed = zipped([(zipfile.ZipInfo("x"), b"content")])

    with pytest.raises(StalledError, match="CRC"):
        unpack(root, changed(packed, b"content", b"konteNt"))


def test_a_zip_name_that_ends_early_is_refused(root: Path) -> None:
    packed = zipped([("xxxx", b"content")]).replace(b"xxxx", b"x\0/y")

    with pytest.raises(StalledError, match="second name"):
        unpack(root, packed)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("kind", COMPRESSED)
def test_what_is_sound_is_unpacked(root: Path, form: int, kind: str) -> None:
    files = {
        "voice/model.onnx": b"weights" * 1000,
        "voice/" + "d" * 90 + "/" + "n" * 60: b"a long name",
        "voice/empty": b"",
        "inner.zip": zipped([("../x", b"stays packed")]),
        "A.txt": b"upper",
        "a.txt": b"lower",
    }
    packed = tar([("./", b""), ("voice/", b""), *files.items()], form=form)

    assert unpack(root, COMPRESSED[kind](packed)) == files


def test_owners_modes_and_times_are_ignored(root: Path) -> None:
    """T23; `unpack` checks the modes."""
    packed = tar([("x", b"x")], mode=0o6777, uid=0, gid=0, mtime=253402300799, uname="root")

    assert unpack(root, packed) == {"x": b"x"}


def test_several_streams_in_one_file_are_one_archive(root: Path) -> None:
    packed = tar([("x", b"x" * 3000)])
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        assert unpack(root, compress(packed[:700]) + compress(packed[700:])) == {"x": b"x" * 3000}
    assert unpack(root, lzma.compress(packed) + bytes(8)) == {"x": b"x" * 3000}


def test_a_member_larger_than_the_volume_is_refused_before_it_is_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Volume, "free", lambda _self: (1000, 1000))

    with pytest.raises(StalledError) as caught:
        unpack(root, tar([("x", bytes(1001))]))

    assert caught.value.reason is Reason.NO_SPACE
    assert "1001 bytes are needed for member 'x' and 1000 are free" in caught.value.message


parts = some.sampled_from(["a", "b", "..", ".", "", "é", "/", "\\", "C:", ".modelgallery", "x y"])
names = some.one_of(some.lists(parts, min_size=1, max_size=4).map("/".join), some.text(max_size=8))
limits = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@limits
@given(
    some.lists(
        some.tuples(names, some.binary(max_size=700), some.sampled_from(b"0123456L5xgKS\0")),
        max_size=5,
    )
)
def test_random_tars_write_nothing_outside(tmp_path: Path, members: list) -> None:
    blocks = [
        tar_block(
            name.encode(errors="replace")[:100], content, kind=bytes([kind]), link=b"../canary"
        )
        for name, content, kind in members
    ]
    try_to_unpack(tmp_path, tar_raw(*blocks))


@limits
@given(
    # zipfile ends a name at its first NUL, and fails on one that is empty then.
    some.lists(
        some.tuples(names.filter(lambda name: name.split("\0")[0]), some.binary(max_size=300)),
        max_size=5,
    ),
    some.data(),
)
def test_random_zips_write_nothing_outside(tmp_path: Path, members: list, data) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        seen = set()
        for name, content in members:
            if name not in seen and name.encode(errors="replace") == name.encode(errors="ignore"):
                seen.add(name)
                archive.writestr(name, content)
    packed = bytearray(buffer.getvalue())
    for place in data.draw(some.lists(some.integers(0, len(packed) - 1), max_size=3)):
        packed[place] = data.draw(some.integers(0, 255))
    try_to_unpack(tmp_path, bytes(packed))


@limits
@given(some.sampled_from([*COMPRESSED, "zip"]), some.data())
def test_a_flipped_byte_breaks_no_reader(tmp_path: Path, kind: str, data) -> None:
    files = [("a/", b""), ("a/b", b"b" * 600), ("c" * 120, b"c")]
    packed = bytearray(zipped(files) if kind == "zip" else COMPRESSED[kind](tar(files)))
    packed[data.draw(some.integers(0, len(packed) - 1))] = data.draw(some.integers(0, 255))
    try_to_unpack(tmp_path, bytes(packed[: data.draw(some.integers(0, len(packed)))]))


@limits
@given(
    some.binary(max_size=2000), some.sampled_from([b"", b"\x1f\x8b\x08", b"PK\x03\x04", b"BZh9"])
)
def test_random_bytes_break_no_reader(tmp_path: Path, content: bytes, magic: bytes) -> None:
    try_to_unpack(tmp_path, magic + content)


@limits
@given(
    some.dictionaries(
        some.text("abcé", min_size=1, max_size=200).filter(lambda name: len(name.encode()) < 256),
        some.binary(max_size=1500),
        min_size=1,
        max_size=5,
    ),
    some.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_sound_tars_are_read_as_the_standard_library_reads_them(tmp_path, files, form) -> None:
    try:
        packed = tar(files.items(), form=form)
    except ValueError:
        return  # ustar has no room for the name
    root = tmp_path / "around" / "volume"
    root.mkdir(parents=True, exist_ok=True)

    assert unpack(root, packed) == files


def try_to_unpack(tmp_path: Path, packed: bytes) -> None:
    root = tmp_path / "around" / "volume"
    root.mkdir(parents=True, exist_ok=True)
    reason = None
    try:
        unpack(root, packed)
    except StalledError as error:
        reason = error.reason
    assert reason in {None, Reason.UNSAFE_PATH, Reason.INVALID_FORMAT}
    assert only_staging(root)
