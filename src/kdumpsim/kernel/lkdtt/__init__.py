# SPDX-License-Identifier: GPL-2.0-or-later
"""The Linux Kernel Dump Test Tool (LKDTT): crash points and the DTT module."""
