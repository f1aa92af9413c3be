# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest language: typed Python to relocatable i386 ELF with DWARF, and the linker."""
