# SPDX-License-Identifier: GPL-2.0-or-later
"""The Internet checksum and byte order, compiled, against RFC 1071 in Python."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guest_harness import guest
from kdumpsim.board.network import checksum


@given(st.binary(max_size=70), st.sampled_from([0, 0xFFFF, 0xFFFFFFFF]))
def test_the_sum_of_any_bytes(data: bytes, start: int) -> None:
    g = guest()
    g.reset()
    total = g.call("csum_partial", g.alloc(data, 1), len(data), start)
    stored = g.call("csum_fold", total) & 0xFFFF
    # Ones' complement has two zeros; 0xFFFF and 0xFFFFFFFF are one of them.
    assert int.from_bytes(stored.to_bytes(2, "little"), "big") % 0xFFFF == checksum(data) % 0xFFFF


@given(st.lists(st.integers(0, 255), min_size=4, max_size=4))
def test_an_address_is_read_in_the_networks_order(numbers: list[int]) -> None:
    g = guest()
    g.reset()
    end = g.alloc(4)
    text = g.string(".".join(map(str, numbers)).encode() + b":rest")
    assert g.call("in_aton", text, end).to_bytes(4, "little") == bytes(numbers)
    assert g.read(g.word(end), 5) == b":rest"


def test_what_is_no_address() -> None:
    g = guest()
    for text in (b"", b"10.0.2", b"10.0.2.", b"10.0.2.256", b"dhcp", b"10..2.1"):
        g.reset()
        assert g.call("in_aton", g.string(text), g.alloc(4)) == 0
