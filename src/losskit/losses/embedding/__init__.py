"""Losses of vectors: which are to lie near each other, and which apart."""
