# SPDX-License-Identifier: GPL-2.0-or-later
"""SHA-256 of purgatory: compiled and run on a CPU, and its source run by CPython; hashlib is the referee."""

from __future__ import annotations

import hashlib
import itertools
import struct
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim import images
from kdumpsim.compiler.lang import u32
from kdumpsim.kexec.purgatory import Purgatory
from kdumpsim.purgatory import sha256 as source
from properties import examples

from .machine import BareMachine

CODE, CONTEXT, DIGEST, DATA = 0x100000, 0x200000, 0x210000, 0x400000


class Guest:
    """The compiled functions."""

    def __init__(self) -> None:
        self.machine = BareMachine()
        purgatory = Purgatory(images.purgatory(), CODE)
        self.machine.write(CODE, purgatory.image)
        self.symbols = purgatory.symbols

    def sha256(self, pieces: list[bytes], offset: int = 0) -> bytes:
        """The digest of `pieces`, given to sha256_update one by one from an address that need not be aligned."""
        call, symbols = self.machine.call, self.symbols
        call(symbols["sha256_starts"], CONTEXT)
        at = DATA + offset
        for piece in pieces:
            self.machine.write(at, piece)
            call(symbols["sha256_update"], CONTEXT, at, len(piece))
            at += len(piece)
        call(symbols["sha256_finish"], CONTEXT, DIGEST)
        return self.machine.read(DIGEST, 32)


@pytest.fixture(scope="module")
def guest() -> Guest:
    return Guest()


def test_the_known_answers(guest: Guest) -> None:
    for data in (b"", b"abc", b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", b"a" * 1000):
        assert guest.sha256([data]) == hashlib.sha256(data).digest()


@given(st.lists(st.binary(max_size=200), max_size=6), st.integers(0, 3))
@examples(200)
def test_any_pieces(guest: Guest, pieces: list[bytes], offset: int) -> None:
    assert guest.sha256(pieces, offset) == hashlib.sha256(b"".join(pieces)).digest()


@pytest.mark.parametrize("size", [54, 55, 56, 63, 64, 65, 119, 120, 127, 128])
def test_padding(guest: Guest, size: int) -> None:
    data = bytes(itertools.islice(itertools.cycle(range(256)), size))
    assert guest.sha256([data]) == hashlib.sha256(data).digest()


@given(st.binary(min_size=64, max_size=64), st.lists(st.integers(0, 2**32 - 1), min_size=8, max_size=8))
@examples(30)
def test_source_and_compiled_code_agree(guest: Guest, block: bytes, state: list[int]) -> None:
    """The same block step, once run by CPython and once on the CPU."""
    words = [u32(word) for word in struct.unpack("<16I", block)]
    constants = [u32(k) for k in source.ROUND_CONSTANTS]
    by_python = [u32(word) for word in state]
    with patch.multiple(source, ROUND_CONSTANTS=constants, message_schedule=[u32(0)] * 64):
        source.sha256_transform(by_python, words)  # type: ignore[arg-type]
    guest.machine.write(CONTEXT, struct.pack("<8I", *state))
    guest.machine.write(DATA, block)
    names = guest.symbols
    guest.machine.call(names["sha256_transform"], CONTEXT, DATA)
    assert list(struct.unpack("<8I", guest.machine.read(CONTEXT, 32))) == by_python
