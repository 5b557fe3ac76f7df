"""Alerts: who looks after the letters is told when a person is needed, and when that is over.

What needs a person is worked out anew at each look, from the ledger and the editions' dates
(`causes`); what has been told of it is on record (`pipeline.ledger.alerts`).
"""

from pipeline.alerts.causes import REMIND, Cause, Kind, causes, of_key, severity
from pipeline.alerts.telling import Telling
from pipeline.alerts.updating import Update, update
from pipeline.alerts.words import sentence, title, to_do

__all__ = [
    "REMIND",
    "Cause",
    "Kind",
    "Telling",
    "Update",
    "causes",
    "of_key",
    "sentence",
    "severity",
    "title",
    "to_do",
    "update",
]
