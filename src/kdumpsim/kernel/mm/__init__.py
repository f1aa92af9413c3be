# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical memory: boot allocator, buddy pages, kmalloc."""
