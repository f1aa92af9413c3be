# SPDX-License-Identifier: GPL-2.0-or-later
"""LKDTT on the host: ttutils, the operator, the outcomes, and the paper's tables."""
