# SPDX-License-Identifier: GPL-2.0-or-later
"""The hooks of an engine in host machine code, kept as bytes: nothing has to be compiled at start-up.

`tests/cpu/test_native.py` assembles the listings and compares. The numbers of the form `N(%rcx)` are offsets into
`native.Slice`, whose fields say what they are.
"""

from __future__ import annotations

from typing import Final

from unicorn import x86_const

LOOK_IF, LOOK_RF, LOOK_IRET = 1, 2, 4
"""What the block hook looks for: EFLAGS.IF, which ends the slice; EFLAGS.RF, to clear it; an IRET, which ends it."""

EAX, EDX, EFLAGS, CS_SELECTOR, CR0, CR4 = 0, 16, 136, 208, 424, 456
"""Where the engine's CPU state has them, from its beginning, in bytes (`Slice.state`; see `layout`)."""

LISTINGS: Final[dict[str, tuple[str, str]]] = {
    # void block(uc %rdi, address %rsi, size %edx, Slice *%rcx)
    "block": (
        f"""
        movq (%rcx), %rax
        cmpq 8(%rcx), %rax
        jae stop
        cmpl $0, 44(%rcx)
        jne look
    count:
        movl %edx, %edx
        addq %rdx, %rax
        movq %rax, (%rcx)
        movq %rsi, 32(%rcx)
        movl %edx, 40(%rcx)
        ret
    stop:
        movl $1, 24(%rcx)
        jmpq *16(%rcx)
    look:
        movl 44(%rcx), %r8d
        testl $4, %r8d
        jne stop
        movq 440(%rcx), %r9
        testl $1, %r8d
        je 1f
        testl $0x200, {EFLAGS}(%r9)
        jne stop
    1:  btrl $1, 44(%rcx)
        jnc count
        btrl $16, {EFLAGS}(%r9)
        jmp count
        """,
        "488b01483b4108731683792c00751a89d24801d048890148897120895128c3c7411801000000ff6110448b412c41f7c004"
        "00000075e94c8b89b801000041f7c001000000740d41f781880000000002000075cc0fba712c0173b5410fbab188000000"
        "10ebaa",
    ),
    # void interrupt(uc %rdi, vector %esi, Slice *%rdx)
    "interrupt": (
        """
        movl %esi, 28(%rdx)
        movl $2, 24(%rdx)
        jmpq *16(%rdx)
        """,
        "89721cc7421802000000ff6210",
    ),
    # bool invalid(uc %rdi, Slice *%rsi): #UD; true lets the engine go on to our stop
    "invalid": (
        """
        subq $8, %rsp
        movl $6, 28(%rsi)
        movl $2, 24(%rsi)
        callq *16(%rsi)
        movl $1, %eax
        addq $8, %rsp
        ret
        """,
        "4883ec08c7461c06000000c7461802000000ff5610b8010000004883c408c3",
    ),
    # u32 port_in(uc %rdi, port %esi, size %edx, Slice *%rcx): the size gets bit 8 when ring 3 asks
    "port_in": (
        f"""
        movq 440(%rcx), %rax
        movl {CS_SELECTOR}(%rax), %eax
        andl $3, %eax
        cmpl $3, %eax
        jne 1f
        orl $0x100, %edx
    1:  jmpq *360(%rcx)
        """,
        "488b81b80100008b80d000000083e00383f803750681ca00010000ffa168010000",
    ),
    # void port_out(uc %rdi, port %esi, size %edx, value %ecx, Slice *%r8): a byte for a port of `Shortcuts.latches` is
    # stored there if there is room
    "port_out": (
        f"""
        movq 440(%r8), %rax
        movl {CS_SELECTOR}(%rax), %eax
        andl $3, %eax
        cmpl $3, %eax
        jne 1f
        orl $0x100, %edx
        jmpq *368(%r8)
    1:  cmpl $1, %edx
        jne tell
        movq 504(%r8), %r9
        cmpl %esi, 496(%r8)
        je found
        movq 512(%r8), %r9
        cmpl %esi, 500(%r8)
        jne tell
    found:
        subq $1, (%r9)
        jb full
        movq 8(%r9), %rax
        movb %cl, 16(%r9,%rax)
        incq 8(%r9)
        ret
    full:
        movq $0, (%r9)
    tell:
        jmpq *368(%r8)
        """,
        "498b80b80100008b80d000000083e00383f803750d81ca0001000041ffa07001000083fa01753b4d8b88f80100004139b0"
        "f001000074104d8b88000200004139b0f4010000751b49832901720e498b410841884c011049ff4108c349c70100000000"
        "41ffa070010000",
    ),
    # void translated(uc %rdi, uc_tb *block %rsi, uc_tb *previous %rdx, Slice *%rcx): a block has been translated.
    # uc_tb: u64 linear address, u16 instructions, u16 size. Tell of those that may have an instruction of `sites`:
    # 0F 01 /4 with a register or /7 with memory, 0F 05, 22, 30, 32, 33, 34 or C7; at the end CF, a 9A or EA, or
    # FF /3 or /5.
    "translated": (
        """
        pushq %rbx
        pushq %rbp
        pushq %r12
        subq $4128, %rsp
        movq %rdi, %rbx
        movq %rsi, %rbp
        movq %rcx, %r12
        movq (%rbp), %rsi
        movl $4, %edx
        movq %rsp, %rcx
        movzwl 10(%rbp), %r8d
        callq *376(%r12)
        testl %eax, %eax
        jne out
        movzwl 10(%rbp), %ecx
        movq %rsp, %rsi
        leaq (%rsp,%rcx), %rdi
    next:
        cmpq %rdi, %rsi
        jae end
        incq %rsi
        cmpb $0x0f, -1(%rsi)
        jne next
        movzbl (%rsi), %eax
        cmpb $0xc7, %al
        je found
        cmpb $5, %al
        je found
        cmpb $0x22, %al
        je found
        cmpb $1, %al
        je status
        subb $0x30, %al
        cmpb $4, %al
        ja next
        cmpb $1, %al
        je next
        jmp found
    status:
        movzbl 1(%rsi), %eax
        movl %eax, %ecx
        andb $0xf8, %cl
        cmpb $0xe0, %cl
        je found
        cmpb $0xc0, %al
        jae next
        andb $0x38, %al
        cmpb $0x38, %al
        jne next
        jmp found
    end:
        decq %rdi
        cmpb $0xcf, (%rdi)
        je found
        leaq -7(%rdi), %rsi
        cmpq %rsp, %rsi
        cmovbq %rsp, %rsi
    far:
        cmpq %rdi, %rsi
        jae out
        movzbl (%rsi), %eax
        incq %rsi
        cmpb $0xff, %al
        je indirect
        cmpb $0x9a, %al
        je 1f
        cmpb $0xea, %al
        jne far
    1:  movl %edi, %eax
        subl %esi, %eax
        subl $3, %eax
        andl $-3, %eax
        jne far
        jmp found
    indirect:
        movzbl (%rsi), %eax
        cmpb $0xc0, %al
        jae far
        andb $0x38, %al
        cmpb $0x18, %al
        je found
        cmpb $0x28, %al
        jne far
    found:
        movq %rbx, %rdi
        movq (%rbp), %rsi
        movzwl 10(%rbp), %edx
        callq *384(%r12)
    out:
        addq $4128, %rsp
        popq %r12
        popq %rbp
        popq %rbx
        ret
        """,
        "535541544881ec201000004889fb4889f54989cc488b7500ba040000004889e1440fb7450a41ff94247801000085c00f85"
        "ae0000000fb74d0a4889e6488d3c0c4839fe734248ffc6807eff0f75f20fb6063cc7747b3c0574773c2274733c01740c2c"
        "303c0477d93c0174d5eb630fb6460189c180e1f880f9e074553cc073c124383c3875bbeb4948ffcf803fcf7441488d77f9"
        "4839e6480f42f44839fe73440fb60648ffc63cff74163c9a74043cea75e989f829f083e80383e0fd75ddeb110fb6063cc0"
        "73d424383c1874043c2875ca4889df488b75000fb7550a41ff9424800100004881c420100000415c5d5bc3",
    ),
    # void site(uc %rdi, address %rsi, size %edx, Site *%rcx): call the hook if the instruction that was found here is
    # still here.  Site: Slice *, hook *, u64 the instruction, u64 which of its bits matter.  Where the page is not in
    # the CPU's TLB (which is not used under PAE) or not in RAM that can be written, it is taken for granted.
    "site": (
        f"""
        movq (%rcx), %r9
        movq 440(%r9), %rax
        movl %esi, %r10d
        shrl $12, %r10d
        cmpl $0, {CR0}(%rax)
        jge flat
        testb $0x20, {CR4}(%rax)
        jne call
        movq 472(%r9), %r11
        movl (%r11,%r10,4), %r10d
        testb $1, %r10b
        je call
        shrl $12, %r10d
    flat:
        movq 64(%r9), %r11
        movq (%r11,%r10,8), %r11
        testq %r11, %r11
        je call
        movl %esi, %eax
        andl $0xfff, %eax
        movq 24(%rcx), %r10
        cmpl $0xff8, %eax
        ja short
        movq (%r11,%rax), %rax
        jmp compare
    short:
        movzbl %r10b, %r10d              # in the page's last bytes, only the first one
        movzbl (%r11,%rax), %eax
    compare:
        xorq 16(%rcx), %rax
        testq %r10, %rax
        jne out
    call:
        movq 8(%rcx), %rax
        movq %r9, %rcx
        jmpq *%rax
    out:
        ret
        """,
        "4c8b09498b81b80100004189f241c1ea0c83b8a8010000007d1ef680c801000020754c4d8b99d8010000478b149341f6c2"
        "01743b41c1ea0c4d8b59404f8b1cd34d85db742a89f025ff0f00004c8b51183df80f00007706498b0403eb09450fb6d241"
        "0fb60403483341104c85d07509488b41084c89c9ffe0c3",
    ),
    # void iret(uc %rdi, address %rsi, size %edx, Slice *%rcx): RF lasts for one instruction after an IRET, a waiting
    # NMI comes at the instruction it goes to, and a nested task (NT) saves its flags
    "iret": (
        f"""
        orl $2, 44(%rcx)
        cmpl $0, 416(%rcx)
        je 1f
        orl $4, 44(%rcx)
    1:  movq 440(%rcx), %rax
        testl $0x4000, {EFLAGS}(%rax)
        je 2f
        jmpq *432(%rcx)
    2:  ret
        """,
        "83492c0283b9a001000000740483492c04488b81b8010000f78088000000004000007406ffa1b0010000c3",
    ),
    # void split(uc %rdi, address %rsi, size %edx, Slice *%rcx): let the instruction begin a block. There it finds its
    # flags folded into EFLAGS, while inside of a block the engine may keep them where its helper doesn't look.
    # Writing EIP ends the block, but not the slice. If other hooks of instructions were called in it, the engine may
    # not know its own flags by now, and only stopping brings them up to date.
    "split": (
        """
        cmpl $0, 24(%rcx)
        jne out
        pushq %rbx
        pushq %rdi
        subq $24, %rsp
        movq %rcx, %rbx
        movl $EFLAGS, %r8d
        movq %rsi, %rax
        subq 32(%rbx), %rax
        je again
        movq (%rbx), %rcx
        movl 40(%rbx), %edx
        subl %eax, %edx
        subq %rdx, (%rbx)
        movl %eax, 40(%rbx)
        cmpq %rcx, 424(%rbx)
        je slowly
        movl $EIP, %r8d
    again:
        movl %r8d, 8(%rsp)
        movq $0, (%rsp)
        movl %r8d, %esi
        movq %rsp, %rdx
        callq *48(%rbx)
        movq 24(%rsp), %rdi
        movl 8(%rsp), %esi
        movq %rsp, %rdx
        callq *408(%rbx)
    back:
        addq $24, %rsp
        popq %rdi
        popq %rbx
    out:
        ret
    slowly:
        movl $5, 24(%rbx)
        callq *16(%rbx)
        jmp back
        """.replace("EFLAGS", str(x86_const.UC_X86_REG_EFLAGS)).replace("EIP", str(x86_const.UC_X86_REG_EIP)),
        "83791800756353574883ec184889cb41b8190000004889f0482b4320741d488b0b8b532829c248291389432848398ba80100"
        "00743541b81a000000448944240848c70424000000004489c64889e2ff5330488b7c24188b7424084889e2ff939801000048"
        "83c4185f5bc3c7431805000000ff5310ebed",
    ),
    # int rdtsc(uc %rdi, Slice *%rsi): `CpuBus.time` (see `Shortcuts.tsc`); 1: the engine is not to read it itself
    "rdtsc": (
        f"""
        movq (%rsi), %rax
        imulq 464(%rsi), %rax
        addq 456(%rsi), %rax
        movq 448(%rsi), %rcx
        movq (%rcx), %rdx
        incq %rdx
        cmpq %rdx, %rax
        cmovlq %rdx, %rax
        movq %rax, (%rcx)
        movq 440(%rsi), %rcx
        movl %eax, %edx
        movq %rdx, {EAX}(%rcx)
        shrq $32, %rax
        movq %rax, {EDX}(%rcx)
        movl $1, %eax
        ret
        """,
        "488b06480faf86d0010000480386c8010000488b8ec0010000488b1148ffc24839d0480f4cc2488901488b8eb801000089"
        "c248891148c1e82048894110b801000000c3",
    ),
    # u64 steady(uc %rdi, offset %rsi, size %edx, Page *%rcx): a read of a device's registers, which asks its callback
    # where `Shortcuts.steady` has no value
    "steady": (
        """
        cmpl $4, %edx
        jne slow
        testl $0xfffffc0f, %esi
        jne slow
        movq (%rcx), %r8
        movl %esi, %eax
        shrl $1, %eax
        movq (%r8,%rax), %rax
        btrq $32, %rax
        jnc slow
        ret
    slow:
        jmpq *8(%rcx)
        """,
        "83fa04751bf7c60ffcffff75134c8b0189f0d1e8498b0400480fbaf0207301c3ff6108",
    ),
    # void locate(uc %rdi, address %rsi, size %edx, u64 *%rcx): the CPU state, to which TCG's code for x86-64 keeps %rbp
    "locate": (
        """
        movq %rbp, (%rcx)
        ret
        """,
        "488929c3",
    ),
    # bool go_on(...): the answer to "may this access to protected memory proceed?"
    "go_on": ("movl $1, %eax\nret\n", "b801000000c3"),
    # u64 ones(uc %rdi, offset %rsi, size %edx, nothing %rcx): what a bus without an answer reads as
    "ones": (
        """
        movl $8, %ecx
        subl %edx, %ecx
        shll $3, %ecx
        movq $-1, %rax
        shrq %cl, %rax
        ret
    """,
        "b90800000029d1c1e10348c7c0ffffffff48d3e8c3",
    ),
    # void nothing(uc %rdi, offset %rsi, size %edx, value %rcx, nothing %r8): a write to nobody
    "nothing": ("ret\n", "c3"),
}
"""Host code for x86-64 System V: AT&T listing and the bytes it assembles to."""
