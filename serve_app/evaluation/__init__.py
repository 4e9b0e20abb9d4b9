"""What the embedded weights are worth, read from their files as the services read them."""

from __future__ import annotations
