import gzip
import zlib

import brotli
import pytest

import proxy.unpack
from proxy.unpack import last_value, unpacked

TEXT = b'{"model": "m"}' * 500
PACKED = {"gzip": gzip.compress(TEXT), "deflate": zlib.compress(TEXT), "br": brotli.compress(TEXT)}


@pytest.mark.parametrize("encoding", PACKED)
def test_a_compressed_answer_is_read(encoding):
    assert unpacked(PACKED[encoding], encoding) == TEXT


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_an_answer_that_is_not_compressed_is_itself(encoding):
    assert unpacked(TEXT, encoding) is TEXT


@pytest.mark.parametrize("encoding", PACKED)
def test_a_broken_off_answer_is_read_as_far_as_it_came(encoding):
    for size in range(len(PACKED[encoding])):
        assert TEXT.startswith(unpacked(PACKED[encoding][:size], encoding))


@pytest.mark.parametrize("encoding", [*PACKED, "zstd", "x-unknown"])
def test_what_cannot_be_read_is_nothing(encoding):
    assert unpacked(b"\x01\x02 no such thing", encoding) == b""


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("br", brotli.compress)])
def test_a_small_answer_that_unpacks_to_a_huge_one_is_cut(monkeypatch, encoding, pack):
    monkeypatch.setattr(proxy.unpack, "AT_MOST", 2**16)
    assert 2**16 <= len(unpacked(pack(bytes(2**22)), encoding)) < 2**18


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (b'"usage": {"a": 1}, "data": [], "usage": {"a": 2}}', {"a": 2}),
        (b'cut off in the middle"], "usage":{"a": {"b": [1]}}, "x": ', {"a": {"b": [1]}}),
        (b'"usage": {"a": ', None),
        (b'"usage"', None),
        (b'{"data": 1}', None),
        (b'\xff "usage": {"a": "\xff"}', None),
    ],
)
def test_the_last_value_of_a_name_is_read_off_a_texts_end(end, found):
    assert last_value(end, "usage") == found
