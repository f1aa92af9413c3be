# SPDX-License-Identifier: GPL-2.0-or-later
"""The SCSI mid-layer and its disk driver."""
