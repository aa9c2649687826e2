"""Losses made of losses: sums with weights, one loss at several resolutions, a loss for each head of a model. Each is a loss itself."""
