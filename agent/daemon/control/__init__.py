"""The control socket: its server, its clients, its verbs, and who waits for what."""
