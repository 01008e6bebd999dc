"""The verbs that change something on a gateway."""
