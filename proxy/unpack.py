"""Decompress a copy of an answer, to read its usage; the client gets the bytes as they came."""

import zlib

import brotli

AT_MOST = 16 * 2**20  # bytes


def unpacked(data: bytes, encoding: str) -> bytes:
    """As much of `data` as can be read, broken-off streams included; nothing for an encoding we don't know."""
    if encoding in ("", "identity"):
        return data
    try:
        if encoding == "gzip" or encoding == "deflate":
            return zlib.decompressobj(wbits=47 if encoding == "gzip" else 15).decompress(data, AT_MOST)
        if encoding == "br":
            return bytes(brotli.Decompressor().process(data, output_buffer_limit=AT_MOST))
    except (zlib.error, brotli.error):
        return b""
    return b""
