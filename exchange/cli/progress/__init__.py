"""``exchange report`` and ``exchange verify-report``: what a community's ledger adds up to, vouched for and checked."""

from __future__ import annotations
