# SPDX-License-Identifier: GPL-2.0-or-later
"""kexec-tools on the host: from a kernel file and the guest's own /proc to a list of segments, and into the guest."""

from .errors import KexecError
from .image import KernelImage, load_image
from .iomem import MemoryLayout, memory_layout
from .load import LoadPlan, kexec_load_normal, kexec_load_panic, kexec_unload, plan_normal, plan_panic
from .segments import Range, Segment

__all__ = [
    "KernelImage", "KexecError", "LoadPlan", "MemoryLayout", "Range", "Segment", "kexec_load_normal",
    "kexec_load_panic", "kexec_unload", "load_image", "memory_layout", "plan_normal", "plan_panic",
]  # fmt: skip
