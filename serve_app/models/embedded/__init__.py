"""The embedded models: a generated world, the small networks trained on it, and their weights."""
