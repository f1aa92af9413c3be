# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs in place of user space: the agent on COM2 and the workloads."""
