"""Thin edges to Linux: clocks, sockets of systemd and of the kernel, other processes. No rule about certificates."""
