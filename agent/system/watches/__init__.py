"""What the kernel tells of by itself, so that nothing polls: files, the clock, the uplink, connections."""
