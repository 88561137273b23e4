"""The gRPC edge: the guard, one thin servicer a service, and the one table of statuses."""
