"""GGUF headers: what they say, and those that lie."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_gallery.api.conditions import Reason
from model_gallery.artifact import gguf
from model_gallery.artifact.gguf import GgufFacts
from model_gallery.errors import StalledError
from support.ggufmake import F32, INT32, LIST, TEXT, U32, Gguf, array, pair, tensor, text, texts
from support.origin import body

SMALL = Gguf(
    [
        pair("general.architecture", "llama"),
        pair("general.name", "Tiny\n\u202e model"),
        pair("general.file_type", 15),
        pair("llama.context_length", 4096),
        pair("qwen2.context_length", 7),
        array("tokenizer.ggml.tokens", TEXT, 2, text("a") + text("b")),
        array("tokenizer.ggml.scores", F32, 3, bytes(12)),
        array("nested", LIST, 1, struct.pack("<IQ", TEXT, 1) + text("x")),
        pair("tokenizer.chat_template", "{{ messages[0].content }}"),
    ],
    [tensor("a", 256, 2, kind=12), tensor("b", 4, offset=288)],
    data=304,
)


def test_the_facts_of_a_small_file() -> None:
    data = SMALL.build()

    assert gguf.parse(data, len(data)) == GgufFacts(
        architecture="llama",
        name="Tiny model",
        quantisation="Q4_K_M",
        parameters=516,
        context_length=4096,
        split_no=0,
        split_count=0,
        split_tensors=0,
        chat_template_suspicious=False,
        tensors=2,
    )


def test_the_facts_of_a_real_file() -> None:
    real = body("/hf/tiny/llama-0/resolve/main/tiny.gguf")
    data = real.read(0, real.size)

    facts = gguf.parse(data, len(data))

    assert facts
    assert (facts.architecture, facts.name) == ("llama", "tiny-random-llama")
    assert (facts.quantisation, facts.context_length, facts.tensors) == ("F32", 2048, 21)
    assert facts.parameters * 4 == pytest.approx(len(data), rel=0.1)


def test_every_beginning_asks_for_more_and_the_header_suffices() -> None:
    data, header = SMALL.build(), SMALL.header()
    complete = len(header.rstrip(b"\0"))

    answers = [gguf.parse(data[:length], len(data)) for length in range(len(header) + 1)]

    assert not any(answers[:complete])
    assert answers[-1] == gguf.parse(data, len(data))


def test_a_file_that_ends_anywhere_is_refused() -> None:
    data = SMALL.build()

    for length in range(len(data)):
        assert _problem(data[:length])


@pytest.mark.parametrize(
    ("pairs", "tensors", "expected"),
    [
        ([], [tensor("a", 256, kind=14), tensor("b", 2, offset=224)], "Q6_K"),
        ([pair("general.file_type", 9999)], [tensor("a", 32, kind=8)], "Q8_0"),
        ([], [tensor("a", 3, kind=777)], "type 777"),
        ([], [], ""),
        ([pair("general.file_type", 7)], [], "Q8_0"),
    ],
)
def test_the_quantisation_is_what_the_file_says_or_most_of_its_bytes_are(
    pairs: list[bytes], tensors: list[bytes], expected: str
) -> None:
    data = Gguf(pairs, tensors, data=512).build()

    facts = gguf.parse(data, len(data))

    assert facts
    assert facts.quantisation == expected


def test_a_later_file_of_a_split_set_says_only_which_it_is() -> None:
    split = [
        pair("split.no", 1),
        pair("split.count", 3),
        pair("split.tensors.count", 201, INT32),
    ]
    data = Gguf(split, [tensor("a", 8)], data=32).build()

    facts = gguf.parse(data, len(data))

    assert facts
    assert (facts.split_no, facts.split_count, facts.split_tensors) == (1, 3, 201)
    assert (facts.architecture, facts.context_length) == ("", 0)


@pytest.mark.parametrize(
    ("template", "suspicious"),
    [
        ("{{ ''.__class__.__mro__ }}", True),
        ("{{ cycler.__init__.__globals__.os.popen('id') }}", True),
        ("{{ x['__import__'] }}", True),
        ("{{ x['\\x5f\\x5fclass\\x5f\\x5f'] }}", True),
        ("{{ x |  attr('a') }}", True),
        ("{{ x|attributes }}", False),
        ("{% for m in messages %}<__start__>{{ m.content }}{% endfor %}", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("key", ["tokenizer.chat_template", "tokenizer.chat_template.tool_use"])
def test_templates_that_reach_for_internals_are_told(
    key: str, template: str, suspicious: bool
) -> None:
    data = Gguf([pair(key, template)]).build()

    facts = gguf.parse(data, len(data))

    assert facts
    assert facts.chat_template_suspicious is suspicious


def _lists(depth: int) -> bytes:
    return array("deep", LIST, 1, struct.pack("<IQ", LIST, 1) * depth)


INVALID: dict[str, tuple[bytes | Gguf, str]] = {
    "empty": (b"", "cut short"),
    "four bytes": (b"GGUF", "cut short"),
    "other magic": (b"<htm" + bytes(40), "begins with"),
    "version 0": (Gguf(version=0), "version is 0"),
    "version 1": (Gguf(version=1), "version is 1"),
    "version 4": (Gguf(version=4), "version is 4"),
    "big endian": (Gguf(version=3 << 24), "big endian"),
    "2^63 tensors": (Gguf(n_tensors=2**63), "tensors"),
    "2^63 pairs": (Gguf(n_pairs=2**63), "pairs"),
    "a tensor too few": (Gguf(tensors=[tensor("a", 1)], n_tensors=2, data=32), "a tensor's name"),
    "text of 2^60 bytes": (Gguf([text("k") + struct.pack("<IQ", TEXT, 2**60)]), "cut short"),
    "kept text of 2^60 bytes": (
        Gguf([text("general.name") + struct.pack("<IQ", TEXT, 2**60)]),
        "cut short",
    ),
    "key of 2^60 bytes": (Gguf([struct.pack("<Q", 2**60)]), "a key has a length"),
    "empty key": (Gguf([pair("", 1)]), "a key has a length"),
    "list of 2^60 numbers": (Gguf([array("k", U32, 2**60, b"")]), "cut short"),
    "list of 2^60 texts": (Gguf([array("k", TEXT, 2**60, b"")]), "more than"),
    "list of 2^60 lists": (Gguf([array("k", LIST, 2**60, b"")]), "more than"),
    "list with a text of 2^63 bytes": (
        Gguf([array("k", TEXT, 2, struct.pack("<QQ", 2**63, 0))]),
        "cut short",
    ),
    "lists 10^6 deep": (Gguf([_lists(10**6)]), "nested"),
    "lists five deep": (Gguf([_lists(5)]), "nested"),
    "unknown value": (Gguf([text("k") + struct.pack("<I", 13)]), "unknown type 13"),
    "unknown item": (Gguf([array("k", LIST, 1, struct.pack("<IQ", 99, 1))]), "unknown type 99"),
    "key twice": (Gguf([pair("k", 1), pair("k", 1)]), "'k' is there twice"),
    "alignment 0": (Gguf([pair("general.alignment", 0)]), "alignment is 0"),
    "alignment 48": (Gguf([pair("general.alignment", 48)]), "alignment is 48"),
    "alignment -32": (Gguf([pair("general.alignment", -32, INT32)]), "alignment is -32"),
    "alignment as text": (Gguf([pair("general.alignment", "32")]), "no whole number"),
    "alignment as list": (
        Gguf([array("general.alignment", U32, 1, bytes(4))]),
        "no whole number",
    ),
    "alignment 2^63": (
        Gguf([pair("general.alignment", 2**63, 10)], [tensor("a", 8)], data=32),
        "ends at byte",
    ),
    "name as number": (Gguf([pair("general.name", 3)]), "general.name is no text"),
    "split out of range": (
        Gguf([pair("split.no", 2), pair("split.count", 2)]),
        "split.no is 2",
    ),
    "huge template": (
        Gguf([pair("tokenizer.chat_template", "x" * (2**20 + 1))]),
        "chat templates",
    ),
    "tensor beyond the file": (
        Gguf(tensors=[tensor("a", 8, offset=64)], data=64),
        "'a' ends at byte",
    ),
    "tensor offset 2^63": (Gguf(tensors=[tensor("a", 8, offset=2**63)], data=64), "ends at byte"),
    "data cut by one byte": (Gguf(tensors=[tensor("a", 8)], data=31), "ends at byte"),
    "unaligned tensor": (Gguf(tensors=[tensor("a", 8, offset=8)], data=64), "not aligned"),
    "tensor twice": (Gguf(tensors=[tensor("a", 8)] * 2, data=32), "'a' is there twice"),
    "half a block": (Gguf(tensors=[tensor("a", 100, kind=12)], data=320), "whole blocks"),
    "too many elements": (
        Gguf(tensors=[tensor("a", 2**32, 2**31)], data=32),
        "elements",
    ),
    "elements that overflow to none": (
        Gguf(tensors=[tensor("a", 2**32, 2**32, 0)], data=32),
        "elements",
    ),
    "2^32 dimensions": (
        Gguf(tensors=[text("a") + struct.pack("<I", 2**32 - 1)], data=32),
        "dimensions",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_files_are_refused(case: str) -> None:
    built, expected = INVALID[case]

    assert expected in _problem(built if isinstance(built, bytes) else built.build())


def test_a_header_that_goes_on_beyond_all_bounds_is_refused() -> None:
    head = Gguf([array("k", U32, 2**26, b"")]).header()

    with pytest.raises(StalledError, match="64 MiB"):
        gguf.parse(head, 2**40)


WORST = {
    "one list": Gguf([texts("k", 2**23)]),
    "as many texts as are allowed": Gguf(
        [texts("k", 2_000_000), array("n", U32, 2**23, bytes(2**25))]
    ),
    "short lists": Gguf([array("k", LIST, 5 * 2**20, struct.pack("<IQ", TEXT, 0) * (5 * 2**20))]),
    "long templates": Gguf([pair("tokenizer.chat_template", "|" * 2**26)]),
    "many pairs": Gguf([pair(f"{i}.context_length", "x" * 6000) for i in range(10_000)]),
    "many tensors": Gguf(
        tensors=[tensor(f"{i:0600}", 1, 1, 1, 1) for i in range(100_000)], data=32
    ),
}


@pytest.mark.parametrize("case", WORST)
def test_the_worst_headers_take_less_than_a_second(case: str) -> None:
    data = WORST[case].build()

    started = time.process_time()
    _parsed(data)

    assert time.process_time() - started < 1


def _parsed(data: bytes, file_size: int | None = None) -> GgufFacts | StalledError | None:
    try:
        return gguf.parse(data, len(data) if file_size is None else file_size)
    except StalledError as error:
        refusal = error
    assert refusal.reason is Reason.INVALID_FORMAT
    return refusal


def _problem(data: bytes) -> str:
    found = _parsed(data)
    assert isinstance(found, StalledError), found
    return found.message


@settings(deadline=1000)
@given(st.binary(max_size=300), st.integers(-1, 400))
def test_any_bytes_give_facts_or_a_refusal(data: bytes, file_size: int) -> None:
    _parsed(data, file_size)
    _parsed(b"GGUF\x03\0\0\0" + data, file_size)


@settings(deadline=1000, max_examples=300)
@given(st.data())
def test_any_change_of_a_right_file_gives_facts_or_a_refusal(choice: st.DataObject) -> None:
    data = bytearray(SMALL.build())
    for _ in range(choice.draw(st.integers(1, 4))):
        place = choice.draw(st.integers(0, len(data) - 8))
        patch = choice.draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff" * 8, bytes(8)]))
        )
        data[place : place + len(patch)] = patch

    assert _parsed(bytes(data)) is not None
