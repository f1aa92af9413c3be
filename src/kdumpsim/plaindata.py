# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain data as bytes and back: JSON, with the bytes objects after it.

For files that another program may have written or damaged.  Reading makes None, bool, int, float, str, bytes, list,
tuple and dict, and can make nothing else, which pickle cannot promise.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

_SIZE = 8
"""Bytes of the JSON's length, little-endian, at the front."""
_BYTES, _TUPLE, _DICT = "bytes", "tuple", "dict"
"""Objects of one member stand for what JSON lacks: [offset, size] of the bytes, items, and [key, value] pairs."""


def dumps(value: Any) -> bytes:
    """Return the value as bytes; TypeError for anything that is not plain data, subclasses included."""
    parts: list[bytes] = []
    at = 0

    def encode(item: Any) -> Any:
        nonlocal at
        kind = type(item)
        if item is None or kind in (bool, int, float, str):
            return item
        if kind is bytes:
            parts.append(item)
            at += len(item)
            return {_BYTES: [at - len(item), len(item)]}
        if kind is list:
            return [encode(each) for each in item]
        if kind is tuple:
            return {_TUPLE: [encode(each) for each in item]}
        if kind is dict:
            return {_DICT: [[encode(key), encode(each)] for key, each in item.items()]}
        raise TypeError(f"{kind.__name__} is not plain data")

    text = json.dumps(encode(value), separators=(",", ":")).encode()
    return b"".join([len(text).to_bytes(_SIZE, "little"), text, *parts])


def loads(data: bytes) -> Any:
    """Return the value that `dumps` was given; ValueError for bytes that it did not make."""
    end = _SIZE + int.from_bytes(data[:_SIZE], "little")
    room = len(data) - end
    if room < 0:
        raise ValueError("the data is cut short")

    def decode_bytes(place: Any) -> bytes:
        offset, size = map(_natural, place)
        if offset + size > room:
            raise ValueError("bytes beyond the end of the data")
        return data[end + offset : end + offset + size]

    makers: dict[str, Callable[[Any], Any]] = {
        _BYTES: decode_bytes,
        _TUPLE: lambda items: tuple(map(decode, items)),
        _DICT: lambda pairs: {decode(key): decode(value) for key, value in pairs},
    }

    def decode(item: Any) -> Any:
        if isinstance(item, list):
            return [decode(each) for each in item]
        if isinstance(item, dict):
            ((kind, content),) = item.items()
            return makers[kind](content)
        return item

    try:
        return decode(json.loads(data[_SIZE:end]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not plain data: {error}") from error


def _natural(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} is no place in the data")
    return number
