"""The pseudonym service: evaluates blinded identifiers under an epoch's key. Sees no record and no identifier."""
