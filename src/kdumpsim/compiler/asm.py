# SPDX-License-Identifier: GPL-2.0-or-later
"""Assembly in guest code: inline calls, module-level text, interrupt stubs.

Every line of assembly is given a comment ``#@path:line``: LLVM repeats the line in its error messages, which is how an
assembler's complaint finds its way back to the guest source.
"""

from __future__ import annotations

import ast
import re

from .diagnostics import Reporter, Source
from .statics import byte_string

_MARK = re.compile(r"#@(\S+):(\d+)")
_REGISTERS_8 = {"{al}", "{ah}", "{bl}", "{bh}", "{cl}", "{ch}", "{dl}", "{dh}"}
#: Clobbered by nearly everything, and forgotten by nearly everyone.
_CLOBBERS = ("~{dirflag}", "~{fpsr}", "~{flags}")
KERNEL_DS = 0x10


class AsmError(Exception):
    """Text, constraints and operands do not fit together."""


def marked(text: str, node: ast.AST, source: Source) -> str:
    """Assembly text with each line's origin as a comment."""
    first = getattr(node, "lineno", 0)
    lines = text.split("\n")
    return "\n".join(f"{line} #@{source.shown}:{first + i}" if line.strip() else line for i, line in enumerate(lines))


def report(message: str, sources: dict[str, Source], reporter: Reporter) -> bool:
    """Turn LLVM's message into errors at the guest lines it comes from; False when it names none."""
    found = False
    for part in re.split(r"^(?=error: |<inline asm>)", message, flags=re.MULTILINE):
        mark = _MARK.search(part)
        if mark and mark[1] in sources:
            said = re.sub(r"^(error: )?<inline asm>:\d+:\d+: (error: )?", "", part.split("\n")[0])
            reporter.error(sources[mark[1]], int(mark[2]), f"assembler: {said.removeprefix('error: ')}")
            found = True
    return found


def split_constraints(text: str) -> list[str]:
    """The pieces of a constraint string (commas inside braces do not separate)."""
    return [piece.strip() for piece in re.split(r",(?![^{]*\})", text)] if text.strip() else []


def inline_call(result: str, text: str, constraints: str, operands: list[tuple[str, str]]) -> str:
    """LLVM's inline-assembly call; `operands` are ``(type, value)``, a type ``ptr:T`` being a pointer to T."""
    pieces = split_constraints(constraints)
    outputs = [p for p in pieces if p.startswith("=") and not p.startswith("=*")]
    inputs = [p for p in pieces if not p.startswith("~") and p not in outputs]
    wanted = 0 if result == "void" else 1
    if len(outputs) != wanted:
        raise AsmError(f"{len(outputs)} outputs in the constraints, but {wanted} results")
    if len(inputs) != len(operands):
        raise AsmError(f"{len(inputs)} operands in the constraints, but {len(operands)} given")
    arguments = []
    for piece, (kind, value) in zip(inputs, operands, strict=True):
        if kind == "const":
            kind = "i8" if piece in _REGISTERS_8 else "i32"
            value = str(int(value) & (0xFF if kind == "i8" else 0xFFFFFFFF))
        base, _, pointee = kind.partition(":")
        if "*" in piece:
            if base != "ptr":
                raise AsmError(f"constraint {piece} needs a pointer")
            base = f"ptr elementtype({pointee})"
        arguments.append(f"{base} {value}")
    everything = ",".join([*pieces, *(c for c in _CLOBBERS if c not in pieces)])
    quoted = byte_string(text.encode())[1:]
    return f'call {result} asm sideeffect {quoted}, "{everything}"({", ".join(arguments)})'


def bug_call(file: str, line: int) -> str:
    """UD2 with the place it stands at behind it, as Linux 2.6's BUG() on i386; `file` is the address of the name."""
    text = byte_string(b"ud2\n.word ${0:c}\n.long ${1:c}")[1:]
    return f'call void asm sideeffect {text}, "i,i"(i32 {line}, ptr {file})'


def interrupt_stub(name: str, body: str, error_code: bool, kernel_ds: int) -> str:
    """The entry an IDT gate points to: builds struct pt_regs, calls `body(regs)`, returns by IRET.

    The frame is Linux 2.6's for i386.  The CFI tells a debugger where the interrupted registers lie; as ESP was pushed
    only if the privilege changed, its rule is an expression that looks at the saved CS.
    """
    push_zero = "" if error_code else "pushl $0\n.cfi_adjust_cfa_offset 4\n"
    saves = ["es", "ds", "eax", "ebp", "edi", "esi", "edx", "ecx", "ebx"]
    pushes = ""
    for register in saves:
        pushes += f"pushl %{register}\n.cfi_adjust_cfa_offset 4\n"
        if register not in ("es", "ds"):
            pushes += f".cfi_rel_offset {register}, 0\n"
    pops = ""
    for register in reversed(saves):
        pops += f"popl %{register}\n.cfi_adjust_cfa_offset -4\n"
        if register not in ("es", "ds"):
            pops += f".cfi_restore {register}\n"
    start = 12 + (4 if error_code else 0)
    return f""".text
.p2align 4, 0x90
.globl {name}
.type {name}, @function
{name}:
.cfi_startproc simple
.cfi_signal_frame
.cfi_def_cfa esp, {start}
.cfi_offset eip, -12
{_ESP_RULE}
{push_zero}{pushes}movl ${kernel_ds}, %eax
movl %eax, %ds
movl %eax, %es
cld
movl %esp, %eax
pushl %eax
.cfi_adjust_cfa_offset 4
call {body}
addl $4, %esp
.cfi_adjust_cfa_offset -4
{pops}addl $4, %esp
.cfi_adjust_cfa_offset -4
iretl
.cfi_endproc
.size {name}, .-{name}
"""


def _esp_rule() -> str:
    """DW_CFA_val_expression for ESP (register 4): the CFA, or the word there if CS has privilege bits.

    Source: DWARF 4, sections 2.5.1 and 6.4.2.
    """
    dup, lit3, lit8, minus, deref, and_, bra, skip = 0x12, 0x33, 0x38, 0x1C, 0x06, 0x1A, 0x28, 0x2F
    code = [dup, lit8, minus, deref, lit3, and_, bra, 3, 0, skip, 1, 0, deref]
    return ".cfi_escape " + ", ".join(hex(byte) for byte in [0x16, 4, len(code), *code])


_ESP_RULE = _esp_rule()
