"""Signatures checked in a process beside this one: a hub's of what is published, an SDK's of what it catches up on.

An Ed25519 verification takes longer than everything else about a statement of one record. So one process does all the
rest, and another checks the signatures of the message that comes next. A process and no thread: the library lets go of
the interpreter lock for each signature, and taking it back from a busy thread costs more than the signature.

What must stay true: whoever asks checks for itself what it gets no answer about. A process makes things faster and
nothing else.
"""
