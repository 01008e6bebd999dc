"""The cloud's side, in the operator's AWS account: who is enrolled, rotated, retired and deleted, and who is not."""
