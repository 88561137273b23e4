"""The progress report of a community: figures from its leaves, small numbers kept back, as files to be verified."""
