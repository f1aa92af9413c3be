# SPDX-License-Identifier: GPL-2.0-or-later
"""A PS/2 keyboard at the far end of the i8042, after the IBM PS/2 hardware interface technical reference.

It speaks scancode set 2; the controller translates. A keyboard buffers 16 codes; this one buffers whatever the host
types, so that long texts need no pacing. Answers to commands go out before scancodes.

Not modelled: sets 1 and 3, typematic repeat (the rate is accepted), Pause, and keys that a 101-key US keyboard lacks.
"""

from __future__ import annotations

from collections import deque
from typing import Any

SYSRQ = "sysrq"

# name: (code in set 1, code in set 2)
_PLAIN = {
    "esc": (0x01, 0x76), "1": (0x02, 0x16), "2": (0x03, 0x1E), "3": (0x04, 0x26), "4": (0x05, 0x25),
    "5": (0x06, 0x2E), "6": (0x07, 0x36), "7": (0x08, 0x3D), "8": (0x09, 0x3E), "9": (0x0A, 0x46),
    "0": (0x0B, 0x45), "-": (0x0C, 0x4E), "=": (0x0D, 0x55), "backspace": (0x0E, 0x66), "tab": (0x0F, 0x0D),
    "q": (0x10, 0x15), "w": (0x11, 0x1D), "e": (0x12, 0x24), "r": (0x13, 0x2D), "t": (0x14, 0x2C),
    "y": (0x15, 0x35), "u": (0x16, 0x3C), "i": (0x17, 0x43), "o": (0x18, 0x44), "p": (0x19, 0x4D),
    "[": (0x1A, 0x54), "]": (0x1B, 0x5B), "enter": (0x1C, 0x5A), "leftctrl": (0x1D, 0x14), "a": (0x1E, 0x1C),
    "s": (0x1F, 0x1B), "d": (0x20, 0x23), "f": (0x21, 0x2B), "g": (0x22, 0x34), "h": (0x23, 0x33),
    "j": (0x24, 0x3B), "k": (0x25, 0x42), "l": (0x26, 0x4B), ";": (0x27, 0x4C), "'": (0x28, 0x52),
    "`": (0x29, 0x0E), "leftshift": (0x2A, 0x12), "\\": (0x2B, 0x5D), "z": (0x2C, 0x1A), "x": (0x2D, 0x22),
    "c": (0x2E, 0x21), "v": (0x2F, 0x2A), "b": (0x30, 0x32), "n": (0x31, 0x31), "m": (0x32, 0x3A),
    ",": (0x33, 0x41), ".": (0x34, 0x49), "/": (0x35, 0x4A), "rightshift": (0x36, 0x59), "kp*": (0x37, 0x7C),
    "leftalt": (0x38, 0x11), "space": (0x39, 0x29), "capslock": (0x3A, 0x58), "f1": (0x3B, 0x05), "f2": (0x3C, 0x06),
    "f3": (0x3D, 0x04), "f4": (0x3E, 0x0C), "f5": (0x3F, 0x03), "f6": (0x40, 0x0B), "f7": (0x41, 0x83),
    "f8": (0x42, 0x0A), "f9": (0x43, 0x01), "f10": (0x44, 0x09), "numlock": (0x45, 0x77), "scrolllock": (0x46, 0x7E),
    "kp7": (0x47, 0x6C), "kp8": (0x48, 0x75), "kp9": (0x49, 0x7D), "kp-": (0x4A, 0x7B), "kp4": (0x4B, 0x6B),
    "kp5": (0x4C, 0x73), "kp6": (0x4D, 0x74), "kp+": (0x4E, 0x79), "kp1": (0x4F, 0x69), "kp2": (0x50, 0x72),
    "kp3": (0x51, 0x7A), "kp0": (0x52, 0x70), "kp.": (0x53, 0x71), "f11": (0x57, 0x78), "f12": (0x58, 0x07),
}  # fmt: skip

# Sent after 0xE0; name: code in set 2
_EXTENDED = {
    "rightalt": 0x11, "rightctrl": 0x14, "up": 0x75, "down": 0x72, "left": 0x6B, "right": 0x74, "home": 0x6C,
    "end": 0x69, "pageup": 0x7D, "pagedown": 0x7A, "insert": 0x70, "delete": 0x71, "kp/": 0x4A, "kpenter": 0x5A,
}  # fmt: skip

_ALT_SYSRQ = 0x84
TO_SET_1 = {second: first for first, second in _PLAIN.values()} | {_ALT_SYSRQ: 0x54, 0x00: 0xFF, 0x02: 0x41}
"""What the controller makes of a set 2 code. Codes that are not here (answers above all) pass unchanged."""

_SHIFTED = dict(zip('~!@#$%^&*()_+{}|:"<>?', "`1234567890-=[]\\;',./", strict=True))
_NAMED = {"\n": "enter", "\t": "tab", "\b": "backspace", "\x1b": "esc", " ": "space"}

ACK, RESEND, ECHO, SELF_TEST_PASSED = 0xFA, 0xFE, 0xEE, 0xAA
IDENTITY = (0xAB, 0x83)
SET_LEDS, ECHO_COMMAND, SCANCODE_SET, IDENTIFY, TYPEMATIC = 0xED, 0xEE, 0xF0, 0xF2, 0xF3
ENABLE, DISABLE, DEFAULTS, RESEND_COMMAND, RESET = 0xF4, 0xF5, 0xF6, 0xFE, 0xFF


def key_of(character: str) -> tuple[str, bool]:
    """The key that types a character on a US keyboard, and whether it takes Shift."""
    if character in _NAMED:
        return _NAMED[character], False
    if character in _SHIFTED:
        return _SHIFTED[character], True
    if character.lower() in _PLAIN and len(character) == 1:
        return character.lower(), character.isupper()
    raise ValueError(f"no key types {character!r}")


class Keyboard:
    """`take()` is the wire to the controller, `command()` the wire from it."""

    def __init__(self) -> None:
        self.leds = 0
        self.typematic = 0x2B
        self.scanning = True
        self._down: list[str] = []
        self._answers: deque[int] = deque()
        self._codes: deque[int] = deque()
        self._last = 0
        self._command: int | None = None  # waits for its parameter

    def press(self, key: str) -> None:
        codes = self._make(key)
        if key not in self._down:
            self._down.append(key)
        self._send(codes)

    def release(self, key: str) -> None:
        codes = self._break(key)
        if key in self._down:
            self._down.remove(key)
        self._send(codes)

    def take(self) -> int | None:
        """The next byte for the controller."""
        if self._answers:
            self._last = self._answers.popleft()
        elif self._codes:
            self._last = self._codes.popleft()
        else:
            return None
        return self._last

    def command(self, byte: int) -> None:
        command, self._command = self._command, None
        if command is not None and byte < 0x80:  # a command byte in place of a parameter starts again
            self._parameter(command, byte)
        elif byte in (SET_LEDS, SCANCODE_SET, TYPEMATIC):
            self._command = byte
            self._answers.append(ACK)
        elif byte == ECHO_COMMAND:
            self._answers.append(ECHO)
        elif byte == IDENTIFY:
            self._answers.extend((ACK, *IDENTITY))
        elif byte in (ENABLE, DISABLE, DEFAULTS, RESET):
            self._codes.clear()
            self.scanning = byte != DISABLE
            if byte != ENABLE:
                self.typematic = 0x2B
            self._answers.append(ACK)
            if byte == RESET:
                self.leds = 0
                self._answers.append(SELF_TEST_PASSED)
        else:
            self._answers.append(self._last if byte == RESEND_COMMAND else RESEND)

    def _parameter(self, command: int, byte: int) -> None:
        if command == SCANCODE_SET and byte not in (0, 2):
            self._answers.append(RESEND)
            return
        self._answers.append(ACK)
        if command == SET_LEDS:
            self.leds = byte & 7
        elif command == TYPEMATIC:
            self.typematic = byte
        elif byte == 0:
            self._answers.append(2)

    def _send(self, codes: tuple[int, ...]) -> None:
        if self.scanning:
            self._codes.extend(codes)

    def _make(self, key: str) -> tuple[int, ...]:
        if key == SYSRQ:
            return (_ALT_SYSRQ,) if self._alt() else (0xE0, 0x12, 0xE0, 0x7C)
        if key in _EXTENDED:
            return (0xE0, _EXTENDED[key])
        if key in _PLAIN:
            return (_PLAIN[key][1],)
        raise ValueError(f"no key is called {key!r}")

    def _break(self, key: str) -> tuple[int, ...]:
        if key == SYSRQ:
            return (0xF0, _ALT_SYSRQ) if self._alt() else (0xE0, 0xF0, 0x7C, 0xE0, 0xF0, 0x12)
        *prefix, code = self._make(key)
        return (*prefix, 0xF0, code)

    def _alt(self) -> bool:
        return "leftalt" in self._down or "rightalt" in self._down

    def state(self) -> dict[str, Any]:
        return {
            "leds": self.leds,
            "typematic": self.typematic,
            "scanning": self.scanning,
            "down": list(self._down),
            "answers": bytes(self._answers),
            "codes": bytes(self._codes),
            "last": self._last,
            "command": self._command,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.leds, self.typematic, self.scanning = state["leds"], state["typematic"], state["scanning"]
        self._down = list(state["down"])
        self._answers, self._codes = deque(state["answers"]), deque(state["codes"])
        self._last, self._command = state["last"], state["command"]
