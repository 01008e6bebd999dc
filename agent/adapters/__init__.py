"""I/O, one outside thing each. Only here are the SDK, the disk's primitives, the clock and systemd touched."""
