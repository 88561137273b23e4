"""The words of the exchange and its rules, as pure values and functions. Standard library only."""
