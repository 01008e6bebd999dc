"""The services behind topics: provisioning, jobs, shadows, and the operator's own stack."""
