# SPDX-License-Identifier: GPL-2.0-or-later
"""What happened and why, for readers: oopses with instructions and source lines."""
