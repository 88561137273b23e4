"""The tamper-evident log as pure functions: hashing, tiles, proofs, checkpoints, signatures. No clock, no I/O."""
