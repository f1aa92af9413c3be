# SPDX-License-Identifier: GPL-2.0-or-later
"""The block layer: buffer cache, requests, elevator."""
