# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest code that runs between the kernels: checks what was loaded, saves low memory, jumps."""
