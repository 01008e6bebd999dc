"""What is written down beside the generations: the change in flight, its history, a pause, what was told."""
