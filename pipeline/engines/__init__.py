"""Engines turn the crank: the same pure step for each letter, here or elsewhere."""
