"""Folds of the ledger, kept up with it. Each can be rebuilt from leaves alone."""
