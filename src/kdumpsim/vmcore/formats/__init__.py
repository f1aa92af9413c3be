# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing dumps in the formats that are met in the field: ELF, makedumpfile's, raw memory."""
