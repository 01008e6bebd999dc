"""The operator's verbs: what is read, what is decided about it, what is done and what is said."""
