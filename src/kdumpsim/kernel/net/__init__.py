# SPDX-License-Identifier: GPL-2.0-or-later
"""Networking: devices and their softirqs, Ethernet, ARP, IPv4, ICMP echo, UDP, sockets."""
