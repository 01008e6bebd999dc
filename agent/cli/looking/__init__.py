"""The verbs that look at a gateway: they take no lock, change nothing and work offline."""
