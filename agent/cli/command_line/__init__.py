"""What may be typed: the parser of all verbs, examples of them, and the lines that must be light."""
