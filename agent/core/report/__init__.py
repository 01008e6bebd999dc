"""What is told to people and machines, as documents and sentences."""
