# SPDX-License-Identifier: GPL-2.0-or-later
"""The i8042 keyboard controller, after the IBM PC/AT and PS/2 technical references.

One byte at a time stands in the output buffer; the next follows as soon as the guest has read it, and the interrupt
line falls and rises between them, so that edge-triggered inputs see every byte. Commands take no time: the input buffer
is never full. Reset leaves the controller as a BIOS does after its self test: keyboard on, translating, interrupting.

Not modelled: the mouse. The auxiliary port is there and tests well, and a device on it answers reset and identify and
acknowledges the rest, but it never moves. Nor are the input port's switches, the keyboard lock and time-out errors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from kdumpsim.apic.messages import Line, unconnected
from kdumpsim.apic.registers import Access, Field, Register

from .keyboard import TO_SET_1, Keyboard, key_of

DATA, COMMAND = 0x60, 0x64


class StatusRegister(Register):
    output_full = Field(0, access=Access.RO)
    input_full = Field(1, access=Access.RO)
    system = Field(2, access=Access.RO)
    command = Field(3, access=Access.RO)
    unlocked = Field(4, access=Access.RO, reset=1)
    aux_data = Field(5, access=Access.RO)
    timeout = Field(6, access=Access.RO)
    parity = Field(7, access=Access.RO)


class CommandByte(Register):
    keyboard_interrupt = Field(0, reset=1)
    aux_interrupt = Field(1)
    system = Field(2, reset=1)
    keyboard_disabled = Field(4)
    aux_disabled = Field(5, reset=1)
    translate = Field(6, reset=1)


class OutputPort(Register):
    """Bits 0 and 1 are wired to the processor's reset (low is reset) and to the A20 gate."""

    not_reset = Field(0, reset=1)
    a20 = Field(1, reset=1)
    aux_clock = Field(2)
    aux_data = Field(3)
    keyboard_full = Field(4, access=Access.RO)
    aux_full = Field(5, access=Access.RO)
    keyboard_clock = Field(6, reset=1)
    keyboard_data = Field(7, reset=1)


READ_MEMORY, WRITE_MEMORY = 0x20, 0x60
DISABLE_AUX, ENABLE_AUX, TEST_AUX, SELF_TEST, TEST_KEYBOARD = 0xA7, 0xA8, 0xA9, 0xAA, 0xAB
DISABLE_KEYBOARD, ENABLE_KEYBOARD = 0xAD, 0xAE
READ_INPUT_PORT, READ_OUTPUT_PORT, WRITE_OUTPUT_PORT = 0xC0, 0xD0, 0xD1
WRITE_KEYBOARD_BUFFER, WRITE_AUX_BUFFER, WRITE_AUX, READ_TEST_INPUTS = 0xD2, 0xD3, 0xD4, 0xE0
PULSE_OUTPUT_PORT = 0xF0

_BREAK = 0xF0


class I8042:
    """`irq1` and `irq12` are the interrupt lines, `on_reset` the pulse on the reset line, `on_a20` the A20 gate."""

    name = "i8042"

    def __init__(self, irq1: Line, irq12: Line, on_reset: Callable[[], None], on_a20: Line = unconnected) -> None:
        self._irq1 = irq1
        self._irq12 = irq12
        self._on_reset = on_reset
        self._on_a20 = on_a20
        self.keyboard = Keyboard()
        self._status = StatusRegister()
        self._config = CommandByte()
        self._outputs = OutputPort()
        self._memory = bytearray(32)  # byte 0 is the command byte's place and unused
        self._own: deque[int] = deque()  # answers of the controller itself
        self._aux: deque[int] = deque()
        self._buffer = 0
        self._breaking = False  # the translator has seen the break prefix
        self._command: int | None = None  # waits for its parameter on the data port
        self._aux_command: int | None = None
        self._levels = [False, False]

    def ports(self) -> list[tuple[int, int]]:
        return [(DATA, 1), (COMMAND, 1)]

    # -- typing --------------------------------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        self.keyboard.press(key)
        self._load()

    def release(self, key: str) -> None:
        self.keyboard.release(key)
        self._load()

    def chord(self, *keys: str) -> None:
        """Press keys in order and release them in reverse: `chord("leftalt", "sysrq", "c")`."""
        for key in keys:
            self.press(key)
        for key in reversed(keys):
            self.release(key)

    def type_text(self, text: str) -> None:
        """What a typist at a US keyboard would do. The whole text is checked before the first key goes down."""
        for key, shift in [key_of(character) for character in text]:
            self.chord(*(("leftshift", key) if shift else (key,)))

    # -- ports ---------------------------------------------------------------------------------------------------------

    def port_read(self, port: int, size: int) -> int:
        if port == COMMAND:
            self._status.system = self._config.system
            return self._status.value
        value = self._buffer
        if self._status.output_full:
            self._status.output_full = self._status.aux_data = 0
            self._update()
            self._load()
        return value

    def port_write(self, port: int, size: int, value: int) -> None:
        value &= 0xFF
        self._status.command = port == COMMAND
        if port == COMMAND:
            self._command = None
            self._execute(value)
        elif self._command is not None:
            command, self._command = self._command, None
            self._parameter(command, value)
        else:
            self._config.keyboard_disabled = 0  # sending to the keyboard turns its clock on
            self.keyboard.command(value)
        self._update()
        self._load()

    def _execute(self, command: int) -> None:
        if command & 0xE0 == READ_MEMORY:
            self._own.append(self._config.value if command == READ_MEMORY else self._memory[command & 0x1F])
        elif command & 0xE0 == WRITE_MEMORY or command in (
            WRITE_OUTPUT_PORT,
            WRITE_KEYBOARD_BUFFER,
            WRITE_AUX_BUFFER,
            WRITE_AUX,
        ):
            self._command = command
        elif command in (DISABLE_KEYBOARD, ENABLE_KEYBOARD):
            self._config.keyboard_disabled = command == DISABLE_KEYBOARD
        elif command in (DISABLE_AUX, ENABLE_AUX):
            self._config.aux_disabled = command == DISABLE_AUX
        elif command == SELF_TEST:
            self._own.append(0x55)
        elif command in (TEST_AUX, TEST_KEYBOARD, READ_TEST_INPUTS):
            self._own.append(0x00)
        elif command == READ_INPUT_PORT:
            self._own.append(0x80)  # keyboard not locked
        elif command == READ_OUTPUT_PORT:
            self._outputs.keyboard_full, self._outputs.aux_full = self._levels
            self._own.append(self._outputs.value)
        elif command >= PULSE_OUTPUT_PORT and not command & OutputPort.not_reset.mask:
            self._on_reset()

    def _parameter(self, command: int, value: int) -> None:
        if command == WRITE_MEMORY:
            self._config.write(value)
        elif command & 0xE0 == WRITE_MEMORY:
            self._memory[command & 0x1F] = value
        elif command == WRITE_OUTPUT_PORT:
            self._write_outputs(value)
        elif command == WRITE_KEYBOARD_BUFFER:
            self._own.append(value)
        elif command == WRITE_AUX_BUFFER:
            self._aux.appendleft(value)
        else:
            self._config.aux_disabled = 0
            self._answer_aux(value)

    def _write_outputs(self, value: int) -> None:
        gate = self._outputs.a20
        self._outputs.write(value)
        if self._outputs.a20 != gate:
            self._on_a20(not gate)
        if not self._outputs.not_reset:
            self._outputs.not_reset = 1  # the reset pulls it up again
            self._on_reset()

    def _answer_aux(self, byte: int) -> None:
        """The mouse that never moves: commands are acknowledged, 0xF3 and 0xE8 take a parameter."""
        if self._aux_command is not None:
            self._aux_command = None
            self._aux.append(0xFA)
            return
        self._aux.append(0xFA)
        if byte in (0xF3, 0xE8):
            self._aux_command = byte
        elif byte == 0xFF:
            self._aux.extend((0xAA, 0x00))
        elif byte == 0xF2:
            self._aux.append(0x00)
        elif byte in (0xE9, 0xEB):
            self._aux.extend((0x00, 0x00, 0x00))

    # -- the output buffer ---------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Put the next byte into the output buffer, if that is free."""
        if self._status.output_full:
            return
        aux = False
        byte: int | None = None
        if self._own:
            byte = self._own.popleft()
        elif not self._config.keyboard_disabled:
            byte = self._from_keyboard()
        if byte is None and self._aux and not self._config.aux_disabled:
            byte, aux = self._aux.popleft(), True
        if byte is None:
            return
        self._buffer = byte
        self._status.output_full = 1
        self._status.aux_data = aux
        self._update()

    def _from_keyboard(self) -> int | None:
        byte = self.keyboard.take()
        if not self._config.translate:
            return byte
        if byte == _BREAK:
            self._breaking = True
            byte = self.keyboard.take()
        if byte is None:
            return None
        breaking, self._breaking = self._breaking, False
        return TO_SET_1.get(byte, byte) | (0x80 if breaking else 0)

    def _update(self) -> None:
        full, aux = bool(self._status.output_full), bool(self._status.aux_data)
        wanted = [
            full and not aux and bool(self._config.keyboard_interrupt),
            full and aux and bool(self._config.aux_interrupt),
        ]
        for index, line in enumerate((self._irq1, self._irq12)):
            if wanted[index] != self._levels[index]:
                self._levels[index] = wanted[index]
                line(wanted[index])

    # -- reset and state -----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        a20 = self._outputs.a20
        self.keyboard = Keyboard()
        for register in (self._status, self._config, self._outputs):
            register.reset()
        self._memory[:] = bytes(32)
        self._own.clear()
        self._aux.clear()
        self._buffer = 0
        self._breaking = False
        self._command = self._aux_command = None
        self._update()
        if not a20:
            self._on_a20(True)

    def state(self) -> dict[str, Any]:
        return {
            "keyboard": self.keyboard.state(),
            "status": self._status.value,
            "config": self._config.value,
            "outputs": self._outputs.value,
            "memory": bytes(self._memory),
            "own": bytes(self._own),
            "aux": bytes(self._aux),
            "buffer": self._buffer,
            "breaking": self._breaking,
            "command": self._command,
            "aux_command": self._aux_command,
            "levels": list(self._levels),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.keyboard.restore(state["keyboard"])
        self._status.value, self._config.value = state["status"], state["config"]
        self._outputs.value = state["outputs"]
        self._memory[:] = state["memory"]
        self._own, self._aux = deque(state["own"]), deque(state["aux"])
        self._buffer, self._breaking = state["buffer"], state["breaking"]
        self._command, self._aux_command = state["command"], state["aux_command"]
        self._levels = list(state["levels"])
