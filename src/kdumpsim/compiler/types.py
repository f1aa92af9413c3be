# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest language's types and their layout by the target's psABI.

For i386 that is System V ABI, Intel386 supplement, chapter 3.

Sizes, offsets and alignments are bytes; bit offsets are bits from bit 0 of the storage unit.
Types compare by identity for structures and enumerations and by value for the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .target import TARGET


class Type(ABC):
    """Base of all types."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes of an object."""

    @property
    @abstractmethod
    def align(self) -> int:
        """What an object's address is a multiple of."""

    @property
    @abstractmethod
    def ir(self) -> str:
        """LLVM's type of a value in a register."""

    @property
    @abstractmethod
    def memory(self) -> str:
        """LLVM's type of an object in memory."""


@dataclass(frozen=True, slots=True)
class VoidType(Type):
    """No value (`-> None`), or the pointee of an untyped pointer."""

    size = 0
    align = 1
    ir = memory = "void"

    def __str__(self) -> str:
        return "void"


@dataclass(frozen=True, slots=True)
class NoReturnType(Type):
    """The result of a function that never returns."""

    size = 0
    align = 1
    ir = memory = "void"

    def __str__(self) -> str:
        return "NoReturn"


@dataclass(frozen=True, slots=True)
class PoisonType(Type):
    """The type of what has been complained about already; silences follow-up errors."""

    size = 4
    align = 4
    ir = memory = "i32"

    def __str__(self) -> str:
        return "<error>"


@dataclass(frozen=True, slots=True)
class ConstType(Type):
    """An integer constant that has not met a type yet."""

    size = 4
    align = 4
    ir = memory = "i32"

    def __str__(self) -> str:
        return "integer constant"


class _Scalar(Type):
    __slots__ = ()

    @property
    def memory(self) -> str:
        return self.ir


@dataclass(frozen=True, slots=True)
class IntType(_Scalar):
    """u8 … i64: two's complement of `bits` bits.  `name` is usize or an alias's, of a type that is equal without it."""

    bits: int
    signed: bool
    name: str = field(default="", compare=False)

    @property
    def size(self) -> int:
        return self.bits // 8

    @property
    def align(self) -> int:
        return min(self.bits // 8, TARGET.max_align)

    @property
    def ir(self) -> str:
        return f"i{self.bits}"

    @property
    def low(self) -> int:
        """The smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest value."""
        return (1 << (self.bits - self.signed)) - 1

    def wrap(self, value: int) -> int:
        """The value as the machine keeps it."""
        value &= (1 << self.bits) - 1
        return value - (1 << self.bits) if self.signed and value >> (self.bits - 1) else value

    def __str__(self) -> str:
        return self.name or f"{'i' if self.signed else 'u'}{self.bits}"


@dataclass(frozen=True, slots=True)
class BoolType(Type):
    """One byte, 0 or 1; an i1 in registers."""

    size = 1
    align = 1
    ir = "i1"
    memory = "i8"

    def __str__(self) -> str:
        return "bool"


@dataclass(frozen=True, slots=True)
class PtrType(Type):
    """ptr[T].  `name` is cstr or an alias's."""

    to: Type
    name: str = field(default="", compare=False)
    size = align = TARGET.word
    ir = memory = "ptr"

    def __str__(self) -> str:
        return self.name or f"ptr[{self.to}]"


@dataclass(frozen=True, slots=True)
class NullType(Type):
    """The type of NULL, which fits every pointer."""

    size = align = TARGET.word
    ir = memory = "ptr"

    def __str__(self) -> str:
        return "NULL"


@dataclass(frozen=True, slots=True)
class FnType(Type):
    """A function's type and, as a value, the pointer to it: fn[[A, B], R].  `name` is an alias's."""

    params: tuple[Type, ...]
    result: Type
    varargs: bool = False
    name: str = field(default="", compare=False)
    size = align = TARGET.word
    ir = memory = "ptr"

    def __str__(self) -> str:
        if self.name:
            return self.name
        params = ", ".join(map(str, self.params)) + (", ..." if self.varargs else "")
        result = "None" if isinstance(self.result, VoidType) else str(self.result)
        return f"fn[[{params}], {result}]"


@dataclass(frozen=True, slots=True)
class ArrayType(Type):
    """array[T] of `count` elements; None when only declared (`external()`)."""

    of: Type
    count: int | None

    @property
    def size(self) -> int:
        return self.of.size * (self.count or 0)

    @property
    def align(self) -> int:
        return self.of.align

    @property
    def memory(self) -> str:
        return f"[{self.size} x i8]"

    ir = "ptr"

    def __str__(self) -> str:
        return f"array[{self.of}]"


@dataclass(slots=True)
class Field:
    """One member of a structure; `bits` is 0 unless it is a bit-field, then `bit` is its place in the unit."""

    name: str
    type: Type
    offset: int
    line: int
    bits: int = 0
    bit: int = 0


@dataclass(eq=False, slots=True)
class StructType(Type):
    """A class derived from Struct or, with `union`, from Union.

    Fields are found when first asked for, so that pointers may run in circles.
    """

    name: str
    module: str
    line: int
    union: bool = False
    packed: bool = False
    minimum_align: int = 1
    resolve: Callable[[StructType], None] | None = None
    fields: dict[str, Field] = field(default_factory=dict)
    ir = "ptr"
    _size: int = 0
    _align: int = 1

    def complete(self) -> None:
        """Resolve and lay out the fields, once."""
        if self.resolve is not None:
            self.resolve(self)
            self.resolve = None

    @property
    def size(self) -> int:
        self.complete()
        return self._size

    @property
    def align(self) -> int:
        self.complete()
        return self._align

    @property
    def memory(self) -> str:
        return f"[{self.size} x i8]"

    def lay_out(self, members: list[tuple[str, Type, int, int]]) -> None:
        """Place members ``(name, type, bits, line)`` in order; a union's are all at the beginning.

        Bit-fields of one type that follow one another share a unit of that type while they fit.
        """
        offset, align, largest = 0, 1, 0
        unit: Type | None = None
        used = 0
        for name, kind, bits, line in members:
            boundary = 1 if self.packed else kind.align
            align = max(align, boundary)
            if self.union:
                self.fields[name] = Field(name, kind, 0, line, bits)
                largest = max(largest, kind.size)
                continue
            if bits and unit == kind and used + bits <= kind.size * 8:
                self.fields[name] = Field(name, kind, offset - kind.size, line, bits, used)
                used += bits
                continue
            offset = -(-offset // boundary) * boundary
            self.fields[name] = Field(name, kind, offset, line, bits)
            offset += kind.size
            unit, used = (kind, bits) if bits else (None, 0)
        self._align = max(align, self.minimum_align)
        self._size = -(-max(offset, largest) // self._align) * self._align

    def __str__(self) -> str:
        return self.name


@dataclass(eq=False, slots=True)
class EnumType(Type):
    """A class derived from IntEnum: a u32 with names."""

    name: str
    module: str
    line: int
    members: dict[str, int] = field(default_factory=dict)
    resolve: Callable[[EnumType], None] | None = None
    size = 4
    align = 4
    ir = memory = "i32"

    def complete(self) -> None:
        """Evaluate the members, once."""
        if self.resolve is not None:
            resolve, self.resolve = self.resolve, None
            resolve(self)

    def __str__(self) -> str:
        return self.name


VOID, NORETURN, POISON, CONST, NULL, BOOL = (
    VoidType(),
    NoReturnType(),
    PoisonType(),
    ConstType(),
    NullType(),
    BoolType(),
)
INTS = {
    f"{'i' if signed else 'u'}{bits}": IntType(bits, signed) for bits in (8, 16, 32, 64) for signed in (False, True)
}
U8, U32, I32, U64, I64 = INTS["u8"], INTS["u32"], INTS["i32"], INTS["u64"], INTS["i64"]
USIZE = IntType(8 * TARGET.word, False, "usize")
WORD, WORD_IR = TARGET.word, TARGET.word_ir
CSTR = PtrType(U8, "cstr")
VOID_PTR = PtrType(VOID)


def named(kind: Type, name: str) -> Type:
    """A type under an alias's name; one that has a name of its own keeps it."""
    return replace(kind, name=name) if isinstance(kind, IntType | PtrType | FnType) else kind


def as_int(kind: Type) -> IntType | None:
    """The integer type an enumeration or integer computes in."""
    if isinstance(kind, IntType):
        return kind
    return U32 if isinstance(kind, EnumType) else None


def word_type(kind: Type) -> str:
    """LLVM's type of an argument on the stack: at least a word."""
    number = as_int(kind) or (USIZE if isinstance(kind, BoolType) else None)
    return "ptr" if number is None else f"i{max(number.bits, USIZE.bits)}"


def join(left: IntType, right: IntType) -> IntType | None:
    """The one of two integer types that holds every value of both, if there is one."""
    if left == right:
        return right if right.name else left
    for wide, narrow in ((left, right), (right, left)):
        if wide.low <= narrow.low and wide.high >= narrow.high:
            return wide
    return None


def is_pointer(kind: Type) -> bool:
    """Is a value of it an address?"""
    return isinstance(kind, PtrType | FnType | NullType)
