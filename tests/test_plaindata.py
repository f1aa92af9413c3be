# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain data: what is written is read back, and whatever else is read is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim import plaindata

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.integers() | st.text() | st.binary(), inner, max_size=4)
    ),
    max_leaves=12,
)


def typed(value: Any) -> Any:
    """The value with the types of all its parts: 1, 1.0 and True are equal."""
    if isinstance(value, (list, tuple)):
        return type(value), [typed(item) for item in value]
    if isinstance(value, dict):
        return dict, [(typed(key), typed(item)) for key, item in value.items()]
    return type(value), value


@given(PLAIN)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert typed(plaindata.loads(plaindata.dumps(value))) == typed(value)


@given(st.binary() | st.tuples(PLAIN.map(plaindata.dumps), st.integers(0), st.binary(min_size=1)).map(
    lambda parts: parts[0][: parts[1] % len(parts[0])] + parts[2]
))  # fmt: skip
def test_anything_else_is_a_value_or_a_valueerror(data: bytes) -> None:
    try:
        value = plaindata.loads(data)
    except ValueError:
        return
    assert typed(plaindata.loads(plaindata.dumps(value))) == typed(value)


@pytest.mark.parametrize(
    "text",
    [
        b"[",
        b'{"bytes":[0,1]}',
        b'{"bytes":[-1,1]}',
        b'{"bytes":[true,0]}',
        b'{"bytes":0}',
        b'{"tuple":1}',
        b'{"dict":[[1]]}',
        b'{"dict":[[[],1]]}',
        b'{"set":[1]}',
        b"{}",
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_json_that_dumps_does_not_write_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not plain data"):
        plaindata.loads(len(text).to_bytes(8, "little") + text)


@pytest.mark.parametrize("value", [{1}, bytearray(1), object(), type("Odd", (int,), {})(1)])
def test_other_objects_are_no_plain_data(value: Any) -> None:
    with pytest.raises(TypeError, match="is not plain data"):
        plaindata.dumps([value])
