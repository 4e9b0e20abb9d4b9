"""One module a step, oldest ``v0001``; a published step is never changed."""
