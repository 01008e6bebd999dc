"""One change of a gateway's set, from its plan to its last line: the loop and its proofs, on ports alone."""
