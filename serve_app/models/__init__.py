"""Which networks serve which task, where their weights are, and how they are opened."""
