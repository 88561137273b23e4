"""Signal Exchange: hashed signals of breaching content, from platform to platform, over a ledger all can check."""

__version__ = "0.1.0"
