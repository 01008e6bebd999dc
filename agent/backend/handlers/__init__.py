"""What happens in the account when it is asked: look up, decide, do, tell. One module for each kind of event."""
