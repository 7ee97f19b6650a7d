"""Algorithms that are trained: layers, unrolled networks, their training and their weights."""
