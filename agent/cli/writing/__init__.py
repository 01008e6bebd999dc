"""What a command writes, and where: lines or JSON, to a terminal, a pipe or a file that a person names."""
