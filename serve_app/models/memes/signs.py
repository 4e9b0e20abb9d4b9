"""Print that belongs to the scene: signs, pages, labels and posters, seen from where the camera happens to stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from serve_app.models.embedded.backgrounds import jitter, random_colour
from serve_app.models.embedded.print_text import lines, page
from serve_app.models.memes.lettering import FACES, Style, fitted
from serve_app.models.memes.scenery import Pixels, scenery

Point = tuple[float, float]


def _contrasting(rng: np.random.Generator, paper: NDArray[np.float64]) -> tuple[int, ...]:
    for _ in range(10):
        ink = jitter(rng, random_colour(rng), 30)
        if abs(float(ink.mean() - paper.mean())) > 70:
            return tuple(ink.astype(int).tolist())
    return (0, 0, 0) if paper.mean() > 127 else (255, 255, 255)


def _board(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A flat sign with its words, "RGBA"."""
    paper = jitter(rng, random_colour(rng), 30)
    ink = _contrasting(rng, paper)
    board = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(board)
    radius = int(min(width, height) * rng.choice([0, 0, 0.1, 0.5]))
    border = int(rng.integers(0, 4)) if rng.random() < 0.5 else 0
    frame = (0, 0, width - 1, height - 1)
    draw.rounded_rectangle(frame, radius, (*paper.astype(int).tolist(), 255), (*ink, 255), border)
    text = lines(rng, int(rng.integers(1, 4 if height < width else 6)), int(rng.integers(1, 4)))
    style = Style(str(rng.choice(FACES)), int(height * rng.uniform(0.2, 0.8)), stretch=rng.uniform(0.7, 1.3))
    drawn, _ = fitted(text, style, int(width * 0.86), int(height * 0.8))
    board.paste((*ink, 255), ((width - drawn.width) // 2, (height - drawn.height) // 2), drawn)
    return board


def _seen(rng: np.random.Generator, board: Image.Image, slope: float) -> Image.Image:
    """The board seen askew: turned by up to ``slope`` radians and its corners moved, on a canvas of its own size."""
    width, height = board.size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    middle = corners.mean(axis=0)
    angle = rng.uniform(-slope, slope)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    to = (corners - middle) @ turn.T * rng.uniform(0.75, 0.9) + middle
    to += rng.uniform(-0.1, 0.1, (4, 2)) * min(width, height)
    coefficients = _perspective(to, corners)
    return board.transform(board.size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)


def _perspective(seen: NDArray[np.float64], flat: NDArray[np.float64]) -> list[float]:
    """The eight coefficients with which Pillow takes four corners of the output back to the input."""
    rows, values = [], []
    for (x, y), (u, v) in zip(seen, flat, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    found: list[float] = np.linalg.solve(np.array(rows), np.array(values)).tolist()
    return found


def _put(rng: np.random.Generator, scene: Image.Image, board: Image.Image) -> None:
    """Paste the board somewhere within the scene, in the light of the scene."""
    light = rng.uniform(0.45, 1.0)
    tint = Image.fromarray((np.asarray(board.convert("RGB")) * light).astype(np.uint8))
    cover = board.getchannel("A").filter(ImageFilter.GaussianBlur(0.6))
    if rng.random() < 0.3:
        tint = tint.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    x = int(rng.uniform(-0.15, 1.0) * max(1, scene.width - board.width))
    y = int(rng.uniform(-0.1, 1.0) * max(1, scene.height - board.height))
    scene.paste(tint, (x, y), cover)


def _signs(rng: np.random.Generator, side: int) -> Pixels:
    scene = Image.fromarray(np.ascontiguousarray(scenery(rng, side)))
    for _ in range(int(rng.choice([1, 1, 1, 2, 2, 3, 5]))):
        width = int(side * rng.uniform(0.2, 0.95))
        height = int(np.clip(width * np.exp(rng.uniform(-1.6, 0.5)), 0.12 * side, 0.95 * side))
        board = _seen(rng, _board(rng, width, height), float(rng.choice([0.05, 0.2, 0.5])))
        _put(rng, scene, board)
    return np.asarray(scene)


def _pages(rng: np.random.Generator, side: int) -> Pixels:
    sheet = page(rng, side).pixels
    if rng.random() < 0.45:
        return sheet
    scene = Image.fromarray(np.ascontiguousarray(scenery(rng, side)))
    small = Image.fromarray(sheet).convert("RGBA").resize((int(side * rng.uniform(0.4, 0.95)),) * 2)
    _put(rng, scene, _seen(rng, small, 0.6))
    return np.asarray(scene)


def _painted(rng: np.random.Generator, side: int) -> Pixels:
    """Words on the surface of what is seen: askew, in one ink, through which the surface shows."""
    scene = Image.fromarray(np.ascontiguousarray(scenery(rng, side)))
    for _ in range(int(rng.integers(1, 4))):
        width = int(side * rng.uniform(0.2, 0.8))
        style = Style(str(rng.choice(FACES)), int(side * rng.uniform(0.04, 0.2)), stretch=rng.uniform(0.7, 1.4))
        ink, _ = fitted(lines(rng, int(rng.integers(1, 3)), 2), style, width, side // 2)
        colour = tuple(jitter(rng, random_colour(rng), 40).astype(int).tolist())
        board = Image.new("RGBA", (ink.width + 20, ink.height + 20), (*colour, 0))
        strength = rng.uniform(0.45, 0.95)
        board.putalpha(_placed(ink.point(lambda v, s=strength: int(v * s)), board.size))
        _put(rng, scene, _seen(rng, board, 0.6))
    return np.asarray(scene)


def _placed(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    whole = Image.new("L", size)
    whole.paste(mask, (10, 10))
    return whole


def with_print(rng: np.random.Generator, side: int) -> Pixels:
    """A picture that has words in it and is no meme, uint8 [side, side, 3]."""
    kind = rng.random()
    if kind < 0.55:
        return _signs(rng, side)
    return _pages(rng, side) if kind < 0.8 else _painted(rng, side)
