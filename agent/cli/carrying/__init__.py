"""A change that a person asked for, carried out by the daemon or here, and how its course is told."""
