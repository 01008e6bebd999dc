"""The sandbox as a process in a folder, and the orders that a person gives it."""
