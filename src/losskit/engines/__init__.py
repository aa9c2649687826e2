"""How losses run: one folder an engine (`torch`, `cpu`, `triton`), and the dispatch that picks one. Nothing here names a loss."""
