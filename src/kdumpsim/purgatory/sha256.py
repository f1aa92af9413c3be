# SPDX-License-Identifier: GPL-2.0-or-later
"""SHA-256 (FIPS 180-4), written for a machine on which a store costs sixteen times as much as a load.

Eight rounds stand in a row and the eight working variables change roles instead of places, so that a round assigns
only two of them; each word of the message schedule is computed when it is used.
This module is compiled with optimisation: LLVM then keeps most of the variables in registers.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import Struct, array, cast, guest, length, ptr, u8, u32, u64, usize

DIGEST_SIZE = 32
BLOCK_SIZE = 64


class Sha256(Struct):
    """A hash under way."""

    state: array[u32] = length(8)
    count: u64
    block: array[u8] = length(BLOCK_SIZE)


# FIPS 180-4, section 4.2.2: fractional parts of the cube roots of the first 64 primes.
ROUND_CONSTANTS: array[u32] = [
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2,
]  # fmt: skip

message_schedule: array[u32] = length(64)
"""Static, since a local array would be cleared for every block."""


@guest
def rotr(x: u32, n: u32) -> u32:
    """Rotate right, 0 < n < 32."""
    return (x >> n) | (x << (32 - n))


@guest
def big_endian(x: u32) -> u32:
    """Bytes of a word in the order of the network."""
    return (x >> 24) | ((x >> 8) & 0xFF00) | ((x << 8) & 0xFF0000) | (x << 24)


@guest
def first_half(e: u32, f: u32, g: u32, h: u32, k: u32, w: u32) -> u32:
    """T1 of a round: h + Sigma1(e) + Ch(e, f, g) + K + W; Sigma1's rotations by 6, 11 and 25 are nested."""
    return h + rotr(e ^ rotr(e ^ rotr(e, 14), 5), 6) + (g ^ (e & (f ^ g))) + k + w


@guest
def second_half(a: u32, b: u32, c: u32) -> u32:
    """T2 of a round: Sigma0(a) + Maj(a, b, c); Sigma0 rotates by 2, 13 and 22."""
    return rotr(a ^ rotr(a ^ rotr(a, 9), 11), 2) + ((a & b) | (c & (a | b)))


@guest
def schedule(t: u32) -> u32:
    """Word t of the message schedule, t >= 16."""
    x: u32 = message_schedule[t - 15]
    y: u32 = message_schedule[t - 2]
    word: u32 = message_schedule[t - 16] + message_schedule[t - 7]
    word += (rotr(x, 7) ^ rotr(x, 18) ^ (x >> 3)) + (rotr(y, 17) ^ rotr(y, 19) ^ (y >> 10))
    message_schedule[t] = word
    return word


@guest
def sha256_transform(state: ptr[u32], block: ptr[u32]) -> None:
    """One block of 64 bytes (FIPS 180-4, section 6.2.2)."""
    a: u32 = state[0]
    b: u32 = state[1]
    c: u32 = state[2]
    d: u32 = state[3]
    e: u32 = state[4]
    f: u32 = state[5]
    g: u32 = state[6]
    h: u32 = state[7]
    t: u32 = 0
    while t < 16:
        for i in range(8):
            message_schedule[t + i] = big_endian(block[t + i])
        h = first_half(e, f, g, h, ROUND_CONSTANTS[t], message_schedule[t])
        d += h
        h += second_half(a, b, c)
        g = first_half(d, e, f, g, ROUND_CONSTANTS[t + 1], message_schedule[t + 1])
        c += g
        g += second_half(h, a, b)
        f = first_half(c, d, e, f, ROUND_CONSTANTS[t + 2], message_schedule[t + 2])
        b += f
        f += second_half(g, h, a)
        e = first_half(b, c, d, e, ROUND_CONSTANTS[t + 3], message_schedule[t + 3])
        a += e
        e += second_half(f, g, h)
        d = first_half(a, b, c, d, ROUND_CONSTANTS[t + 4], message_schedule[t + 4])
        h += d
        d += second_half(e, f, g)
        c = first_half(h, a, b, c, ROUND_CONSTANTS[t + 5], message_schedule[t + 5])
        g += c
        c += second_half(d, e, f)
        b = first_half(g, h, a, b, ROUND_CONSTANTS[t + 6], message_schedule[t + 6])
        f += b
        b += second_half(c, d, e)
        a = first_half(f, g, h, a, ROUND_CONSTANTS[t + 7], message_schedule[t + 7])
        e += a
        a += second_half(b, c, d)
        t += 8
    while t < 64:
        h = first_half(e, f, g, h, ROUND_CONSTANTS[t], schedule(t))
        d += h
        h += second_half(a, b, c)
        g = first_half(d, e, f, g, ROUND_CONSTANTS[t + 1], schedule(t + 1))
        c += g
        g += second_half(h, a, b)
        f = first_half(c, d, e, f, ROUND_CONSTANTS[t + 2], schedule(t + 2))
        b += f
        f += second_half(g, h, a)
        e = first_half(b, c, d, e, ROUND_CONSTANTS[t + 3], schedule(t + 3))
        a += e
        e += second_half(f, g, h)
        d = first_half(a, b, c, d, ROUND_CONSTANTS[t + 4], schedule(t + 4))
        h += d
        d += second_half(e, f, g)
        c = first_half(h, a, b, c, ROUND_CONSTANTS[t + 5], schedule(t + 5))
        g += c
        c += second_half(d, e, f)
        b = first_half(g, h, a, b, ROUND_CONSTANTS[t + 6], schedule(t + 6))
        f += b
        b += second_half(c, d, e)
        a = first_half(f, g, h, a, ROUND_CONSTANTS[t + 7], schedule(t + 7))
        e += a
        a += second_half(b, c, d)
        t += 8
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d
    state[4] += e
    state[5] += f
    state[6] += g
    state[7] += h


@guest
def sha256_starts(ctx: ptr[Sha256]) -> None:
    """Begin a hash (FIPS 180-4, section 5.3.3)."""
    ctx.state[0] = 0x6A09E667
    ctx.state[1] = 0xBB67AE85
    ctx.state[2] = 0x3C6EF372
    ctx.state[3] = 0xA54FF53A
    ctx.state[4] = 0x510E527F
    ctx.state[5] = 0x9B05688C
    ctx.state[6] = 0x1F83D9AB
    ctx.state[7] = 0x5BE0CD19
    ctx.count = 0


@guest
def sha256_update(ctx: ptr[Sha256], data: ptr[u8], size: usize) -> None:
    """Take in `size` bytes; whole blocks are hashed where they lie."""
    at: u32 = 0
    filled: usize = u32(ctx.count) % BLOCK_SIZE
    ctx.count += size
    if filled != 0:
        while at < size and filled < BLOCK_SIZE:
            ctx.block[filled] = data[at]
            filled += 1
            at += 1
        if filled < BLOCK_SIZE:
            return
        sha256_transform(ctx.state, cast(ptr[u32], ctx.block))
    while size - at >= BLOCK_SIZE:
        sha256_transform(ctx.state, cast(ptr[u32], data + at))
        at += BLOCK_SIZE
    filled = 0
    while at < size:
        ctx.block[filled] = data[at]
        filled += 1
        at += 1


@guest
def sha256_finish(ctx: ptr[Sha256], digest: ptr[u8]) -> None:
    """Pad (FIPS 180-4, section 5.1.1) and give the 32 bytes of the digest."""
    bits: u64 = ctx.count << 3
    filled: usize = u32(ctx.count) % BLOCK_SIZE
    ctx.block[filled] = 0x80
    filled += 1
    if filled > BLOCK_SIZE - 8:
        while filled < BLOCK_SIZE:
            ctx.block[filled] = 0
            filled += 1
        sha256_transform(ctx.state, cast(ptr[u32], ctx.block))
        filled = 0
    while filled < BLOCK_SIZE - 8:
        ctx.block[filled] = 0
        filled += 1
    words = cast(ptr[u32], ctx.block)
    words[14] = big_endian(u32(bits >> 32))
    words[15] = big_endian(u32(bits))
    sha256_transform(ctx.state, words)
    out = cast(ptr[u32], digest)
    for i in range(8):
        out[i] = big_endian(ctx.state[i])
