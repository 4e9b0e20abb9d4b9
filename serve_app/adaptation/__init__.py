"""Adaptation: an asset in every shape that its viewers need."""
