# SPDX-License-Identifier: GPL-2.0-or-later
"""The names of the guest language.

Guest modules write ``from kdumpsim.compiler.lang import ...``.  The compiler
knows these names by itself and never runs this module; it exists so that

* mypy, pyright and editors understand guest sources as ordinary Python, and
* pure guest functions can be run by CPython with the same results: the integer
  classes wrap like the machine's.

The language is described in ``docs/guest-language.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, Self, TypeAlias, TypeVar, overload

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

__all__ = [
    "BUG", "NULL", "NoReturn", "Struct", "Union", "addr", "aligned", "array", "asm", "asm_value", "barrier", "bits",
    "cast", "cmpxchg", "config", "container_of", "cstr", "extern", "external", "fetch_add", "fetch_and", "fetch_or",
    "fetch_sub", "fn", "frame_address", "guest", "i8", "i16", "i32", "i64", "interrupt", "length",
    "list_for_each_entry", "list_for_each_entry_safe", "load_volatile", "module_asm", "naked", "offsetof", "packed",
    "placed", "ptr", "return_address", "section", "sizeof", "store_volatile", "u8", "u16", "u32", "u64", "unreachable",
    "usize", "void", "xchg",
]  # fmt: skip

if TYPE_CHECKING:
    # To a type checker integers are int: widths and signs are the compiler's business,
    # which is far stricter about them than a checker could be.
    u8: TypeAlias = int
    u16: TypeAlias = int
    u32: TypeAlias = int
    u64: TypeAlias = int
    i8: TypeAlias = int
    i16: TypeAlias = int
    i32: TypeAlias = int
    i64: TypeAlias = int
    usize: TypeAlias = int
    cstr: TypeAlias = Any
    """Pointer to NUL-terminated bytes, the same type as ``ptr[u8]``; accepts a string literal."""
    from collections.abc import Callable as fn

    # ptr[void] takes any pointer, which is what a checker's Any does.
    void: TypeAlias = Any
else:

    class _Int(int):
        """A machine integer for CPython: arithmetic wraps to the wider operand's type."""

        BITS = 32
        SIGNED = False

        def __new__(cls, value: int = 0) -> Self:
            value = int(value) & ((1 << cls.BITS) - 1)
            if cls.SIGNED and value >> (cls.BITS - 1):
                value -= 1 << cls.BITS
            return super().__new__(cls, value)

        @classmethod
        def _join(cls, other: int) -> type[_Int]:
            kind = type(other)
            return kind if issubclass(kind, _Int) and kind.BITS > cls.BITS else cls

    def _wrap(name: str) -> None:
        plain = getattr(int, name)

        def forward(self: _Int, other: int) -> Any:
            result = plain(self, other)
            return result if result is NotImplemented else type(self)._join(other)(result)

        setattr(_Int, name, forward)

    for _op in ("add", "sub", "mul", "floordiv", "mod", "and", "or", "xor"):
        _wrap(f"__{_op}__")
        _wrap(f"__r{_op}__")

    def _shift(name: str) -> None:
        plain = getattr(int, name)

        def forward(self: _Int, count: int) -> Any:
            return type(self)(plain(int(self), int(count)))

        setattr(_Int, name, forward)

    for _op in ("__lshift__", "__rshift__"):
        _shift(_op)

    _Int.__abs__ = lambda self: type(self)(abs(int(self)))
    _Int.__neg__ = lambda self: type(self)(-int(self))
    _Int.__invert__ = lambda self: type(self)(~int(self))

    def _make(name: str, width: int, signed: bool) -> type[_Int]:
        return type(name, (_Int,), {"BITS": width, "SIGNED": signed})

    u8, u16, u32, u64 = (_make(f"u{n}", n, False) for n in (8, 16, 32, 64))
    i8, i16, i32, i64 = (_make(f"i{n}", n, True) for n in (8, 16, 32, 64))
    usize = u32
    cstr = Any
    fn = Callable

    class void:
        """The pointee of an untyped pointer, ``ptr[void]``; ``cast`` it before use."""


def _compiled_only(name: str) -> NoReturn:
    raise TypeError(f"{name} means something only in compiled guest code")


if TYPE_CHECKING:

    class ptr(Protocol[T]):
        """Pointer to T: ``p.field`` reaches through it, ``p[i]`` indexes, ``p + n`` steps by elements.

        A protocol, so that a structure goes where a pointer to it is wanted: see :class:`Struct`.
        """

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...
        def __getitem__(self, index: int) -> T: ...
        def __setitem__(self, index: int, value: T) -> None: ...
        def __add__(self, count: int) -> ptr[T]: ...
        def __sub__(self, other: Any) -> Any: ...
        def __lt__(self, other: Any) -> bool: ...
        def __le__(self, other: Any) -> bool: ...
        def __gt__(self, other: Any) -> bool: ...
        def __ge__(self, other: Any) -> bool: ...
        def __index__(self) -> int: ...
        def __len__(self) -> int: ...  # of an array; the compiler refuses it for other pointers
        def __call__(self, *args: Any) -> Any: ...

    # Initialisers are lists and bytes; as a value an array is a pointer.
    array: TypeAlias = ptr[T] | Any
else:

    class ptr(Generic[T]):
        """Pointer to T: ``p.field`` reaches through it, ``p[i]`` indexes, ``p + n`` steps by elements."""

    class array(ptr[T]):
        """Array of T; its length stands in the default: ``name: array[u8] = length(16)``.

        Used as a value it is a pointer to its first element, as in C.
        """


class Struct:
    """Base of guest structures: annotated fields in order, laid out as the target's psABI says.

    Where a pointer is wanted, a structure is its address.  To a type checker it is that for its own class only.
    """

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...
        def __getitem__(self, index: int) -> Self: ...
        def __setitem__(self, index: int, value: Self) -> None: ...
        def __add__(self, count: int) -> ptr[Self]: ...
        def __sub__(self, other: Any) -> Any: ...
        def __lt__(self, other: Any) -> bool: ...
        def __le__(self, other: Any) -> bool: ...
        def __gt__(self, other: Any) -> bool: ...
        def __ge__(self, other: Any) -> bool: ...
        def __index__(self) -> int: ...
        def __len__(self) -> int: ...  # of an array; the compiler refuses it for other pointers
        def __call__(self, *args: Any) -> Any: ...


class Union(Struct):
    """Base of guest unions: a Struct whose fields all begin at its beginning."""


S = TypeVar("S", bound=Struct)
NULL: Any = None


def guest(function: F) -> F:
    """Mark a function as guest code."""
    return function


def naked(function: F) -> F:
    """A guest function of ``asm`` statements only: no prologue, no epilogue."""
    return function


def interrupt(*, error_code: bool = False) -> Callable[[F], F]:
    """An interrupt handler ``f(regs: ptr[PtRegs])``: saves all registers, returns by IRET.

    With ``error_code`` the CPU has pushed one; else the stub pushes a 0 in its place.
    """
    return guest


def extern(function: F) -> F:
    """Declare a function that stands elsewhere under this symbol (assembly, or breaks a cycle)."""
    return function


def packed(cls: type[T]) -> type[T]:
    """A Struct without padding."""
    return cls


def aligned(boundary: int) -> Callable[[type[T]], type[T]]:
    """A Struct aligned to `boundary` bytes."""
    return packed


def length(count: int, *, align: int = 0, zeroed: bool = True) -> Any:
    """An array of `count` zeroed elements: field, global or local.

    `align` (bytes) is for globals; ``zeroed=False`` leaves a local's bytes as they are.
    """
    return [0] * count


def bits(width: int) -> Any:
    """A bit-field of `width` bits: ``dpl: u32 = bits(2)``; packed from bit 0 up."""
    return 0


def placed(section: str, value: T) -> T:
    """A global put into the table `section`; the linker defines ``__start_<section>``/``__stop_<section>``.

    A digit at the end of the name is a level: the table is sorted by it, and the symbols are without it.
    A table that no code reads is a link error.
    """
    return value


def external() -> Any:
    """A global that stands elsewhere: ``_end: array[u8] = external()``."""
    return None


def config(name: str, default: int) -> int:
    """A constant that the build may set: ``THREAD_SIZE: Final = config("THREAD_SIZE", 8192)``."""
    return default


def module_asm(text: str) -> None:
    """Assembly at module level (AT&T syntax); an f-string may name constants, sizeof, offsetof."""


def asm(text: str, constraints: str = "", *operands: Any) -> None:
    """Inline assembly without a result: LLVM template (``$0`` …) and constraint string."""
    _compiled_only("asm")


def asm_value(kind: type[T], text: str, constraints: str, *operands: Any) -> T:
    """Inline assembly whose one output (first constraint, ``=…``) has type `kind`."""
    _compiled_only("asm_value")


@overload
def addr(place: S) -> ptr[S]: ...
@overload
def addr(place: ptr[Any]) -> Any: ...
@overload
def addr(place: T) -> ptr[T]: ...
def addr(place: Any) -> Any:
    """Address of a variable, field or element; of an array, the address of its first element."""
    _compiled_only("addr")


@overload
def cast(kind: type[T], value: Any) -> T: ...
@overload
def cast(kind: Any, value: Any) -> Any: ...
def cast(kind: Any, value: Any) -> Any:
    """Reinterpret a pointer or an address as `kind`."""
    _compiled_only("cast")


def sizeof(kind: Any) -> int:
    """Size of a type in bytes; in CPython of integers only."""
    bits: int = getattr(kind, "BITS", 0)
    return bits // 8 if bits else _compiled_only("sizeof")


def offsetof(kind: type[Any], field: str) -> int:
    """Offset of a field in bytes; a dotted path reaches into nested structures."""
    _compiled_only("offsetof")


def container_of(member: Any, kind: type[T], field: str) -> ptr[T]:
    """From a pointer to a member to the structure around it."""
    _compiled_only("container_of")


def list_for_each_entry(head: ptr[Any], kind: type[T], field: str) -> Iterator[ptr[T]]:
    """``for task in list_for_each_entry(head, TaskStruct, "tasks")``: each structure of a circular list.

    `head` points to the list's head, `field` is the member by which structures of type `kind` hang on the list: both
    are a structure whose field `next` points to another of its kind.  The next entry is found after the body ran; where
    the body takes the entry away, use :func:`list_for_each_entry_safe`.
    """
    _compiled_only("list_for_each_entry")


def list_for_each_entry_safe(head: ptr[Any], kind: type[T], field: str) -> Iterator[ptr[T]]:
    """Like list_for_each_entry; the next entry is found before the body runs, which may take the entry away."""
    _compiled_only("list_for_each_entry_safe")


@overload
def section(name: str, kind: type[T]) -> Iterator[ptr[T]]: ...
@overload
def section(name: str, kind: Any) -> Iterator[ptr[Any]]: ...
def section(name: str, kind: Any) -> Iterator[ptr[Any]]:
    """``for point in section("cpoints", CrashPoint)``: each element of a table that `placed` fills, in its order."""
    _compiled_only("section")


def load_volatile(place: ptr[T]) -> T:
    """One load that is neither dropped nor doubled (MMIO, words other CPUs write)."""
    _compiled_only("load_volatile")


def store_volatile(place: ptr[T], value: T) -> None:
    """One store that is neither dropped nor doubled."""
    _compiled_only("store_volatile")


def xchg(place: ptr[T], value: T) -> T:
    """Atomic exchange; the old value."""
    _compiled_only("xchg")


def cmpxchg(place: ptr[T], old: T, new: T) -> T:
    """Atomic compare and exchange; the value found."""
    _compiled_only("cmpxchg")


def fetch_add(place: ptr[T], value: T) -> T:
    """Atomic add; the old value."""
    _compiled_only("fetch_add")


def fetch_sub(place: ptr[T], value: T) -> T:
    """Atomic subtract; the old value."""
    _compiled_only("fetch_sub")


def fetch_or(place: ptr[T], value: T) -> T:
    """Atomic or; the old value."""
    _compiled_only("fetch_or")


def fetch_and(place: ptr[T], value: T) -> T:
    """Atomic and; the old value."""
    _compiled_only("fetch_and")


def barrier() -> None:
    """The compiler moves no memory access across this."""


def BUG() -> NoReturn:
    """An impossible state: UD2, followed by the line (16 bits) and the address of the file's name (32 bits)."""
    _compiled_only("BUG")


def frame_address() -> usize:
    """This function's EBP."""
    _compiled_only("frame_address")


def return_address() -> usize:
    """The address this function returns to."""
    _compiled_only("return_address")


def unreachable() -> NoReturn:
    """Control never comes here."""
    _compiled_only("unreachable")
