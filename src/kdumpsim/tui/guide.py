# SPDX-License-Identifier: GPL-2.0-or-later
"""The page behind `?`, and the line of keys."""

from __future__ import annotations

KEYS = " i s n step  I S N back  c C run  space play  b break  m stops  ? help  q quit"
GUIDE = """\
You are at one instruction of a run, between its power-on and its
end. Every instruction of every CPU has a number; the line at the top
shows that of the one that comes next. Go wherever you like, forwards
or back: the run is repeated, never changed, and its dump stays the
same, byte for byte.

MOVING
  i  I        an instruction of the chosen CPU; capitals go back
  s  S        a source line, into the functions that it calls
  n  N        a source line, over the functions that it calls
  c  C        to the next breakpoint, or to the one before
  Space       play, and pause;  + and - play faster and slower
  m           milestones: the crash, panic(), purgatory, the end, …
  g           go to an instruction's number (1,234,567, +100, -100)
              or to a milestone by its name
  Backspace   back to where the last move began
  Esc         stop what takes too long
  Lines pass over interrupts (i does not), and stop at breakpoints.

LOOKING
  0 … 9       choose a CPU, or click it: registers, source and steps
              are its
  Up Down PgUp PgDn   move the cursor through the source
  .           back to the line that the CPU is at
  o           open a source: a function's name, or FILE:LINE
  d           machine code, and back to the source
  Tab         the next of the panes that have no room beside each
              other: console, registers, calls, memory, timeline
  z  Z        zoom into the timeline, and out again

BREAKPOINTS
  b           set or clear one at the cursor; or click the line
  B           clear all
  In the margin: a dot is a line that has code, a circle a
  breakpoint, an arrow where the CPU of that number is. A breakpoint
  in a kernel's source holds in the capture kernel, too.

READING THE SCREEN
  CPUs        what each does: a task's system call, an interrupt, an
              NMI within it (after >), or halted. "halted for good":
              interrupts are off, so that only an NMI could wake it.
  memory      physical memory from its top down, as the crashing
              kernel has laid it out; an arrow where a CPU runs. It
              goes from the first kernel through purgatory into the
              reserved region.
  timeline    a row for each CPU; a column shows what took most of
              its time. Zoom in around the crash.

TRY THIS
  m, "the crash begins", Enter. s, s, s: into the panic. N goes back.
  o, panic, Enter, b, c: runs to the breakpoint; C to the one before.
  m, "the capture kernel starts": in memory, where does the CPU run?
  Which CPU runs no more, and what has stopped it? (0, 1, z)
"""
