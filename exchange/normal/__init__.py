"""Normal forms of indicators: one thing seen by two members must become the same value. Pure."""
