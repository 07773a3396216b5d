"""Writes a tiny, real GGUF file: a random llama of two layers that llama.cpp and Ollama load.

    python make_gguf.py OUT [--seed N] [--layers N] [--width N] [--times N]

The same arguments give the same bytes everywhere: the weights are exact multiples of 2^-15, drawn
from Python's Mersenne Twister. Standard library only.
"""

from __future__ import annotations

import argparse
import random
import struct
from array import array
from dataclasses import dataclass, replace
from pathlib import Path

ALIGNMENT = 32
INT8_TENSOR = 24
UINT32, FLOAT32, STRING, ARRAY, INT32 = 4, 6, 8, 9, 5
TOKEN_NORMAL, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_BYTE = 1, 2, 3, 6
HEADS, KV_HEADS, CONTEXT = 4, 2, 2048
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


@dataclass(frozen=True)
class Tensor:
    """One tensor; `shape` in GGUF's order, the fastest dimension first."""

    name: str
    shape: tuple[int, ...]
    data: bytes


def tokens() -> list[tuple[str, float, int]]:
    """Three special tokens, all bytes, the space and ASCII: enough for any UTF-8 text."""
    special = [
        ("<unk>", 0.0, TOKEN_UNKNOWN),
        ("<s>", 0.0, TOKEN_CONTROL),
        ("</s>", 0.0, TOKEN_CONTROL),
    ]
    raw = [(f"<0x{value:02X}>", 0.0, TOKEN_BYTE) for value in range(256)]
    text = [
        (character, -1.0 - i, TOKEN_NORMAL)
        for i, character in enumerate(["\u2581", *map(chr, range(33, 127))])
    ]
    return special + raw + text


def tensors(seed: int, layers: int, width: int, times: int) -> list[Tensor]:
    """All weights. The output rows of special and byte tokens are zero: the model speaks ASCII.

    The layers come `times` over with the same bytes objects, so that a big model costs the time and
    the memory of a small one.
    """
    source = random.Random(seed)  # noqa: S311 - weights, no secret
    vocabulary = len(tokens())
    key_width = width // HEADS * KV_HEADS

    def weights(columns: int, rows: int, scale: int = 1) -> array[float]:
        draw = source.getrandbits
        return array("f", ((draw(11) - 1024) * scale / 32768 for _ in range(rows * columns)))

    def tensor(name: str, *shape: int) -> Tensor:
        return Tensor(name, shape, weights(*shape).tobytes())

    ones = array("f", [1.0] * width).tobytes()
    output = weights(width, vocabulary, scale=50)
    output[: 259 * width] = array("f", bytes(259 * width * 4))
    result = [
        tensor("token_embd.weight", width, vocabulary),
        Tensor("output_norm.weight", (width,), ones),
        Tensor("output.weight", (width, vocabulary), output.tobytes()),
    ]
    drawn = [
        [
            Tensor("attn_norm.weight", (width,), ones),
            tensor("attn_q.weight", width, width),
            tensor("attn_k.weight", width, key_width),
            tensor("attn_v.weight", width, key_width),
            tensor("attn_output.weight", width, width),
            Tensor("ffn_norm.weight", (width,), ones),
            tensor("ffn_gate.weight", width, 2 * width),
            tensor("ffn_up.weight", width, 2 * width),
            tensor("ffn_down.weight", 2 * width, width),
        ]
        for _ in range(layers)
    ]
    for number, layer in enumerate(drawn * times):
        result += [replace(weight, name=f"blk.{number}.{weight.name}") for weight in layer]
    return result


def metadata(layers: int, width: int) -> list[bytes]:
    """The key-value pairs, encoded."""
    vocabulary = tokens()
    return [
        _text("general.architecture", "llama"),
        _text("general.name", "tiny-random-llama"),
        _number("general.file_type", 0),
        _number("general.alignment", ALIGNMENT),
        _number("llama.context_length", CONTEXT),
        _number("llama.embedding_length", width),
        _number("llama.block_count", layers),
        _number("llama.feed_forward_length", 2 * width),
        _number("llama.attention.head_count", HEADS),
        _number("llama.attention.head_count_kv", KV_HEADS),
        _number("llama.rope.dimension_count", width // HEADS),
        _number("llama.vocab_size", len(vocabulary)),
        _pair("llama.attention.layer_norm_rms_epsilon", FLOAT32, struct.pack("<f", 1e-5)),
        _text("tokenizer.ggml.model", "llama"),
        _text("tokenizer.ggml.pre", "default"),
        _list("tokenizer.ggml.tokens", STRING, [_string(name) for name, _, _ in vocabulary]),
        _list(
            "tokenizer.ggml.scores",
            FLOAT32,
            [struct.pack("<f", score) for _, score, _ in vocabulary],
        ),
        _list(
            "tokenizer.ggml.token_type",
            INT32,
            [struct.pack("<i", kind) for _, _, kind in vocabulary],
        ),
        _number("tokenizer.ggml.bos_token_id", 1),
        _number("tokenizer.ggml.eos_token_id", 2),
        _number("tokenizer.ggml.unknown_token_id", 0),
        _text("tokenizer.chat_template", TEMPLATE),
    ]


def pieces(seed: int = 0, layers: int = 2, width: int = 64, times: int = 1) -> list[bytes]:
    """Returns the whole file as its head and one piece for each tensor; repeated ones are shared."""
    pairs, weights = metadata(layers * times, width), tensors(seed, layers, width, times)
    head = [b"GGUF", struct.pack("<IQQ", 3, len(weights), len(pairs)), *pairs]
    data: list[bytes] = []
    offset = 0
    for tensor in weights:
        dimensions = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        head.append(_string(tensor.name) + dimensions + struct.pack("<IQ", 0, offset))
        data.append(_padded(tensor.data))
        offset += len(data[-1])
    return [_padded(b"".join(head)), *data]


def gguf(seed: int = 0, layers: int = 2, width: int = 64) -> bytes:
    """Returns the whole file."""
    return b"".join(pieces(seed, layers, width))


def one_tensor(name: str, weights: bytes) -> bytes:
    """Returns a valid file that holds the weights as one tensor of bytes; no backend can run it."""
    pairs = [_text("general.architecture", "none"), _text("general.name", name)]
    shape = struct.pack("<IQIQ", 1, len(weights), INT8_TENSOR, 0)
    head = [b"GGUF", struct.pack("<IQQ", 3, 1, len(pairs)), *pairs, _string("weights"), shape]
    return _padded(b"".join(head)) + _padded(weights)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _string(key) + struct.pack("<I", kind) + value


def _text(key: str, text: str) -> bytes:
    return _pair(key, STRING, _string(text))


def _number(key: str, value: int) -> bytes:
    return _pair(key, UINT32, struct.pack("<I", value))


def _list(key: str, kind: int, items: list[bytes]) -> bytes:
    return _pair(key, ARRAY, struct.pack("<IQ", kind, len(items)) + b"".join(items))


def _padded(data: bytes) -> bytes:
    missing = -len(data) % ALIGNMENT
    return data + bytes(missing) if missing else data


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a tiny, real GGUF file")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--times", type=int, default=1, help="repeats the layers")
    given = parser.parse_args()
    with given.out.open("wb") as out:
        out.writelines(pieces(given.seed, given.layers, given.width, given.times))


if __name__ == "__main__":
    main()
