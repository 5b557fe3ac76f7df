"""Alerts: who looks after the letters is told when a person is needed, and when that is over.

What needs a person is worked out anew at each look, from the ledger and the editions' dates
(`causes`); what has been told of it is on record (`pipeline.ledger.alerts`).
"""

from pipeline.alerts.causes import REMIND, Cause, Kind, causes, of_key, severity

__all__ = ["REMIND", "Cause", "Kind", "causes", "of_key", "severity"]
