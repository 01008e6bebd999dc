"""The verbs for machines that are no gateway: an operator's, a pipeline's, and the sandbox."""
