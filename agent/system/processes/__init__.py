"""Other processes: copies of this one and programs, what they write, and what bounds them."""
