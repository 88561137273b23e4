"""Adapters of the store ports. Siblings without a base class; ``tests/contract`` is what makes them equal."""
