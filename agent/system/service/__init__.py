"""What the agent tells systemd as a service of its own, and reads back of that."""
