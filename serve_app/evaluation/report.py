"""What an evaluation gives, and whom it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
Figures = dict[str, float]
Tell = Callable[[str, int, int], None]
"""Hears what is being done, how many are done, and how many there are."""


def say_nothing(stage: str, done: int, every: int) -> None:
    """For who does not want to hear."""


def counted(items: Sequence[T], stage: str, tell: Tell) -> Iterator[T]:
    """The items one by one, each told of before it comes."""
    for done, item in enumerate(items):
        tell(stage, done, len(items))
        yield item
