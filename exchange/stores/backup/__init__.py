"""Backups of a hub's logs: leaves as they are, records under keys that are kept apart and destroyed day by day."""
