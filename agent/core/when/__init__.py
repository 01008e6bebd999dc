"""When something is due: the schedule and the reconnects, of given instants and given chance."""
