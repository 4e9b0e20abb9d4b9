"""Curves as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 720, 440
LEFT, TOP, RIGHT, BOTTOM = 70, 50, 20, 60
INKS = ("#1f5fa8", "#c2571a", "#2f8a4c", "#8a3f9e", "#6b6b6b")
TICKS = 5


def curves(
    path: Path, title: str, across: str, lines: Mapping[str, Sequence[tuple[float, float]]], mark: float | None = None
) -> None:
    """Lines through points (x, y >= 0) as a PNG, with a legend and a mark at one x."""
    points = [point for line in lines.values() for point in line]
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    top = max(1e-9, *(y for _, y in points))
    font = ImageFont.load_default(13)
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)

    def place(x: float, y: float) -> tuple[float, float]:
        share = (x - low) / ((high - low) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    draw.text((LEFT, 10), title, "black", ImageFont.load_default(16))
    for tick in range(TICKS + 1):
        x, y = low + (high - low) * tick / TICKS, top * tick / TICKS
        draw.line((place(low, y), place(high, y)), "#dddddd")
        draw.text((LEFT - 8, place(low, y)[1]), f"{y:.3g}", "black", font, anchor="rm")
        draw.text((place(x, 0)[0], HEIGHT - BOTTOM + 8), f"{x:.3g}", "black", font, anchor="mt")
    draw.text((WIDTH // 2, HEIGHT - 18), across, "black", font, anchor="mm")
    if mark is not None:
        draw.line((place(mark, 0), place(mark, top)), "#999999")
    for number, (name, line) in enumerate(lines.items()):
        ink = INKS[number % len(INKS)]
        draw.line([place(x, y) for x, y in line], ink, 2)
        draw.text((LEFT + 10 + 110 * number, 32), name, ink, font)
    image.save(path, "PNG")
