"""Serves the programs that use the set. It may run as root, so it talks to no network."""
