"""Files and directories: bounded, private and durable. Nothing else in the agent renames, links or syncs."""
