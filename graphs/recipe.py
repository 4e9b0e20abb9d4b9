"""What travels to replicas: how something is made, and nothing of what one of them has opened since."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


class Recipe:
    """Base of the dataclasses that keep more than their fields, in cached properties: connections, queues, tasks.

    Serve pickles the arguments of a replica again once it runs, when it may have begun to work with them.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
