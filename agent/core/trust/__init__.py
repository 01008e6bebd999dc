"""What is wrong with a store of trust anchors, and when other anchors are worth a change."""
