"""What hides an account identifier from the one who makes its pseudonym, as pure functions. No clock, no I/O."""
