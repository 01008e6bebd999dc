"""Tools that break things on purpose: kills at every system call, failing calls, and disks after a power cut."""
