"""Village box: one village's ledger, trade page and federation endpoint on a small computer."""

__version__ = "0.1.0"
