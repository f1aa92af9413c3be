# SPDX-License-Identifier: GPL-2.0-or-later
"""The compressors of makedumpfile's format, from libraries that are imported when they are needed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kdumpsim.errors import KdumpsimError

Compress = Callable[[bytes], Any]
"""Makes bytes, or what has their buffer, of a page."""


class CompressorMissing(KdumpsimError):
    """The library for a compression is not installed."""


@dataclass(frozen=True)
class Compression:
    """A way to compress pages: its flag in the header and in page descriptors (makedumpfile's diskdump_mod.h)."""

    flag: int
    load: Callable[[], Compress]
    """ImportError where its library is missing."""
    package: str = ""
    """What brings it."""

    def compressor(self) -> Compress:
        """The function; CompressorMissing."""
        try:
            return self.load()
        except ImportError:
            raise CompressorMissing(
                f"the Python package {self.package} is not installed: pip install {self.package}, "
                "or all of them: pip install 'kdumpsim[formats]'"
            ) from None


def _zlib() -> Compress:
    return lambda page: zlib.compress(page, 1)  # makedumpfile's Z_BEST_SPEED


def _lzo() -> Compress:
    from lzallright import LZOCompressor

    compress: Compress = LZOCompressor().compress
    return compress


def _snappy() -> Compress:
    import cramjam

    compress: Compress = cramjam.snappy.compress_raw
    return compress


def _zstd() -> Compress:
    from zstandard import ZstdCompressor

    compress: Compress = ZstdCompressor(level=1).compress
    return compress


COMPRESSIONS = {
    "zlib": Compression(0x1, _zlib),
    "lzo": Compression(0x2, _lzo, "lzallright"),
    "snappy": Compression(0x4, _snappy, "cramjam"),
    "zstd": Compression(0x20, _zstd, "zstandard"),
}
