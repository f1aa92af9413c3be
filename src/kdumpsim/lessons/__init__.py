# SPDX-License-Identifier: GPL-2.0-or-later
"""The lessons of docs/lessons: their pages, their questions, and the answers of the present build."""
