"""From the sealed ledger to the subscribers: one tail a log, one feed a subscriber. Knows nothing of publishing."""
