"""What workers are started for, when, and what follows from their end."""
