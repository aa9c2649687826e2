"""Losses of logits or probabilities."""
