# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m kdumpsim``: the command line."""

from kdumpsim.cli import main

if __name__ == "__main__":
    main()
