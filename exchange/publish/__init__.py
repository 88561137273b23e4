"""From a statement on the wire to a receipt: intake checks it, the sequencer commits it. Knows nothing of fan-out."""
