# SPDX-License-Identifier: GPL-2.0-or-later
"""The i386 PC: everything that knows the processor and the interrupt controllers."""
