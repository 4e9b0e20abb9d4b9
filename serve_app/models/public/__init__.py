"""Published weights that are small and free enough to ship: each beside its licence."""
