"""The account: certificates, who may do what, and the authorities that sign."""
