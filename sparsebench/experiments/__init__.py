"""Experiments decide which rows are worth having; they know algorithms by name only."""
