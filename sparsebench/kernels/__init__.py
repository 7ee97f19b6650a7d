"""Compiled loops, float64. Their cache on disk is dropped whenever the sources change."""
