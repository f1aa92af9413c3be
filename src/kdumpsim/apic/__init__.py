# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupt controllers: the local APIC, the I/O APIC and the pair of i8259s. Messages in, messages out."""
