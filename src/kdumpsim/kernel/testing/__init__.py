# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests do to the kernel from inside: loads, conditions at the crash, a login and a shutdown; not part of Linux.

All of it is compiled into every kernel, because a kernel that is tested must be the kernel that is used: another image
would have other addresses, other timing and other dumps.  It costs nothing until the agent starts one of the threads,
and nothing outside of this package calls it: it joins by the sections `workloads`, `initcall6` and the system calls'.
"""
