"""Annotators: what is in a picture. Each model has three verbs: prepare, run and finish."""
