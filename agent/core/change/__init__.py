"""A change's states, what comes next, and what is accepted as proof."""
