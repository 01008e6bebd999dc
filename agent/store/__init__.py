"""The state directory. Nothing else in the agent renames, links or syncs; it knows no cloud."""
