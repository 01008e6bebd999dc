"""What can go wrong, what each failure says about the set, and when to try again."""
