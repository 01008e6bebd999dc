"""What an order means and how it is carried out: the one place for a command, a worker and the schedule."""
