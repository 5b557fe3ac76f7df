"""Prepare, prove and email annual review letters, and keep the record of what was delivered."""
