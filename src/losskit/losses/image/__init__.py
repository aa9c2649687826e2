"""Losses of pictures, whose pixels count together."""
