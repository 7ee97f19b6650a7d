"""Rows made and kept: blocks, workers, devices, progress and the store."""
