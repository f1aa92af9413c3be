# SPDX-License-Identifier: GPL-2.0-or-later
"""Each fault model does to a machine what it says, and nothing else."""

from __future__ import annotations

import capstone
import pytest

from kdumpsim import images
from kdumpsim.board.disk import Disk
from kdumpsim.board.machine import Machine, MachineConfig
from kdumpsim.faults.draw import Draw
from kdumpsim.faults.models import Place
from kdumpsim.faults.strikes import MODELS
from kdumpsim.faults.survey import Sample, Survey
from kdumpsim.machines.own import OwnMachine
from kdumpsim.scenario.strikes import FAULTS, Fault
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import physical

REGISTERS = ("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip", "eflags")


@pytest.fixture(scope="module")
def kernel() -> images.KernelImage:
    return images.kernel()


@pytest.fixture
def machine(kernel: images.KernelImage) -> OwnMachine:
    """A PC at the kernel's first instruction: its image is in memory."""
    machine = OwnMachine(MachineConfig())
    machine.load_multiboot(kernel.stripped, "")
    return machine


def place(kernel: images.KernelImage, machine: Machine) -> Place:
    """What faults are drawn from, where one CPU is at the beginning of `panic`, on the boot CPU's stack."""
    stack = kernel.symbols["init_thread_union"] + kernel.stack_size - 64
    sample = Sample(1, 0, kernel.symbols["panic"], stack, (kernel.symbols["die"],))
    survey = Survey(0, [sample], [kernel.symbols["die_lock"]], [0x200000])
    return Place(survey, kernel, machine.config.memory, sample)


def struck(machine: OwnMachine, kernel: images.KernelImage, name: str, target: str) -> dict[int, tuple[int, int]]:
    """The bytes of RAM that a fault changes: before and after, by physical address."""
    before = bytes(machine.memory.view)
    assert MODELS[name](target, kernel).strike(machine)
    after = bytes(machine.memory.view)
    pages = [at for at in range(0, len(before), 4096) if before[at : at + 4096] != after[at : at + 4096]]
    return {at: (before[at], after[at]) for page in pages for at in range(page, page + 4096) if before[at] != after[at]}


def assembly(machine: OwnMachine, address: int, size: int) -> list[str]:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
    code = bytes(machine.memory.view[physical(address) : physical(address) + size])
    return [f"{mnemonic} {operands}".strip() for _, _, mnemonic, operands in engine.disasm_lite(code, address)]


def test_every_model_that_can_be_asked_for_is_there_and_its_own_draws_are_understood(
    kernel: images.KernelImage, machine: OwnMachine
) -> None:
    assert MODELS.keys() == FAULTS.keys()
    for name, row in FAULTS.items():
        for word in row.drawn:
            for turn in range(20):
                try:
                    target = MODELS[name].draw(word, place(kernel, machine), Draw(name, word, turn))
                except ScenarioError:
                    assert name.startswith("text")  # two functions have not every kind of instruction
                    break
                fault = Fault.parse(f"{name}:{target}@1.5")
                assert not fault.to_draw
                MODELS[name](fault.target, kernel)


@pytest.mark.parametrize("name", ["stack", "data", "heap"])
def test_a_bit_of_memory_flips_and_no_other(kernel: images.KernelImage, machine: OwnMachine, name: str) -> None:
    where = place(kernel, machine)
    target = MODELS[name].draw(FAULTS[name].drawn[0], where, Draw(name))
    address, bit = (int(word, 0) for word in target.split("."))
    changed = struck(machine, kernel, name, target)
    assert list(changed) == [physical(address)]
    before, after = changed[physical(address)]
    assert before ^ after == 1 << bit
    start, size = {
        "stack": (where.sample.stack, 64),
        "data": (kernel.symbols["die_lock"], 4),
        "heap": (0xC0200000, 4096),
    }[name]
    assert start <= address < start + size


def test_a_bit_of_a_register_of_a_busy_cpu_flips_and_no_other(kernel: images.KernelImage, machine: OwnMachine) -> None:
    before = machine.cpus[0].registers()
    assert MODELS["register"]("0.esi.17", kernel).strike(machine)
    after = machine.cpus[0].registers()
    assert {name for name in REGISTERS if getattr(before, name) != getattr(after, name)} == {"esi"}
    assert before.esi ^ after.esi == 1 << 17


def test_a_halted_cpu_has_no_register_to_be_struck(kernel: images.KernelImage, machine: OwnMachine) -> None:
    assert MODELS["register"]("1.esi.17", kernel).strike(machine) is None  # it waits for its start-up message


def test_a_machine_check_shuts_a_cpu_down_unless_it_is_enabled(kernel: images.KernelImage, machine: OwnMachine) -> None:
    """SDM vol. 3A, 15.3 and 6.15: CR4.MCE decides; here the machine is reset by what shut down."""
    did = MODELS["mce"]("0", kernel).strike(machine)
    assert did == "CPU 0 shut down at a machine check"
    assert machine.reset_cause == "machine check on CPU 0"


def test_a_machine_check_that_is_enabled_goes_through_vector_18(kernel: images.KernelImage) -> None:
    machine = OwnMachine(MachineConfig(cpus=1))
    machine.load_multiboot(kernel.stripped, "")
    gate, handler = 0x400000 + 18 * 8, 0x300000
    code = int(machine.cpus[0].registers().cs)
    low, high = handler & 0xFFFF | code << 16, handler & 0xFFFF0000 | 0x8E00
    machine.memory.dma_write(gate, low.to_bytes(4, "little") + high.to_bytes(4, "little"))
    machine.cpus[0].set_registers(cr4=1 << 6, idtr=(0x400000, 0x7FF), esp=0x500000)
    assert MODELS["mce"]("0", kernel).strike(machine) == "CPU 0 took a machine check"
    assert machine.cpus[0].registers().eip == handler


@pytest.mark.parametrize(("source", "status"), [("memory.ecc", 0x4000), ("pci.parity", 0xC000)])
def test_serr_is_an_nmi_for_the_boot_cpu_and_in_the_host_bridges_status(
    machine: OwnMachine, kernel: images.KernelImage, source: str, status: int
) -> None:
    """PCI 2.1, 6.2.3: signaled system error, detected parity error."""
    assert MODELS["serr"](source, kernel).strike(machine) is not None
    assert machine.pit.port_read(0x61, 1) & 0x80
    machine.pci.port_write(0xCF8, 4, 0x80000004)
    assert machine.pci.port_read(0xCFE, 2) & 0xC000 == status
    machine.pit.port_write(0x61, 1, 4)
    assert MODELS["serr"](source, kernel).strike(machine) is None, "software has disabled it"


def test_a_wild_store_changes_a_word(kernel: images.KernelImage, machine: OwnMachine) -> None:
    changed = struck(machine, kernel, "store", "0xc2345678=0xcafe1234")
    assert {at: after for at, (_, after) in changed.items()} == {
        0x2345678: 0x34, 0x2345679: 0x12, 0x234567A: 0xFE, 0x234567B: 0xCA
    }  # fmt: skip


def test_stray_dma_writes_a_sector_and_cpus_are_told(kernel: images.KernelImage, machine: OwnMachine) -> None:
    told: list[tuple[int, int]] = []
    machine.memory.written = lambda begin, end: told.append((begin, end))
    changed = struck(machine, kernel, "dma", "0x2000200+512")
    assert set(changed) <= set(range(0x2000200, 0x2000400))
    assert len(changed) > 480  # some bytes happen to be what was there: zeros
    assert told == [(0x2000200, 0x2000400)]


def find(kernel: images.KernelImage, wanted: bytes) -> int:
    """Where in the text these bytes are, of an instruction that a function begins or goes on with."""
    start = kernel.symbols["_text"]
    return start + kernel.read(start, kernel.symbols["_etext"] - start).index(wanted)


def test_an_instruction_becomes_nops(kernel: images.KernelImage, machine: OwnMachine) -> None:
    start = kernel.symbols["panic"]  # push ebp; mov ebp, esp
    assert assembly(machine, start, 3) == ["push ebp", "mov ebp, esp"]
    struck(machine, kernel, "text-nop", f"{start + 1:#x}")
    assert assembly(machine, start, 3) == ["push ebp", "nop", "nop"]


def test_a_bit_of_an_instruction_flips(kernel: images.KernelImage, machine: OwnMachine) -> None:
    start = kernel.symbols["panic"]
    struck(machine, kernel, "text-bit", f"{start + 1:#x}.12")  # of the second byte, bit 4
    code = bytes(machine.memory.view[physical(start) : physical(start) + 3])
    assert int.from_bytes(code, "little") ^ int.from_bytes(kernel.read(start, 3), "little") == 1 << 20


def test_a_conditional_branch_is_inverted_and_nothing_else_is_one(
    kernel: images.KernelImage, machine: OwnMachine
) -> None:
    target = MODELS["text-branch"].draw("uniform", place(kernel, machine), Draw("branch"))
    at = int(target, 16)
    before = assembly(machine, at, 6)[0]
    struck(machine, kernel, "text-branch", target)
    after = assembly(machine, at, 6)[0]
    pairs = {frozenset(pair) for pair in (("je", "jne"), ("jb", "jae"), ("jbe", "ja"), ("jl", "jge"), ("jle", "jg"),
                                          ("js", "jns"), ("jo", "jno"), ("jp", "jnp"))}  # fmt: skip
    assert frozenset((before.split()[0], after.split()[0])) in pairs
    assert before.split()[1:] == after.split()[1:]


def test_another_register_is_written(kernel: images.KernelImage, machine: OwnMachine) -> None:
    at = find(kernel, b"\x8b\x45\x08")  # mov eax, [ebp + 8]
    struck(machine, kernel, "text-destination", f"{at:#x}=edi")
    assert assembly(machine, at, 3) == ["mov edi, dword ptr [ebp + 8]"]
    with pytest.raises(ScenarioError, match="cannot write that register"):
        MODELS["text-destination"](f"{kernel.symbols['panic']:#x}=edi", kernel)  # push ebp


def test_the_initialisation_of_a_local_variable_is_gone(kernel: images.KernelImage, machine: OwnMachine) -> None:
    target = MODELS["text-init"].draw("uniform", place(kernel, machine), Draw("init"))
    at = int(target, 16)
    before = assembly(machine, at, 11)[0]
    assert before.startswith("mov ")
    assert "ptr [ebp" in before or "ptr [esp" in before
    size = len(struck(machine, kernel, "text-init", target))
    assert assembly(machine, at, size)[0] == "nop"


def test_the_code_that_was_changed_is_what_the_cpu_runs(kernel: images.KernelImage) -> None:
    """Also where it had been translated: a loop that the fault makes go on."""
    machine = OwnMachine(MachineConfig(cpus=1))
    machine.load_multiboot(kernel.stripped, "")
    code = b"\x40\xeb\xfd"  # inc eax; jmp back
    machine.memory.dma_write(0x300000, code)
    machine.cpus[0].set_registers(eip=0x300000, eax=0)
    machine.run(until=1_000_000)
    assert machine.cpus[0].registers().eax > 1000
    machine.appoint(2_000_000, lambda: machine.memory.dma_write(0x300000, b"\x90"))
    machine.run(until=3_000_000)
    stood = machine.cpus[0].registers().eax
    machine.run(until=4_000_000)
    assert machine.cpus[0].registers().eax == stood


def test_transfers_of_a_sata_disk_fail_where_there_is_one(kernel: images.KernelImage, machine: OwnMachine) -> None:
    with_sata = OwnMachine(MachineConfig(sata=(Disk.memory(64), None)))
    assert MODELS["disk"]("sda.3", kernel).strike(with_sata) == "the next 3 transfers of sda fail"
    assert with_sata.channels["sata0"].drives[0].bad_transfers == 3
    assert MODELS["disk"]("sdb.3", kernel).strike(with_sata) is None
    assert MODELS["disk"]("sda.3", kernel).strike(machine) is None
