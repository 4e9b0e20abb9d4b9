"""Pictures without print: crops of photographs that packages carry, textures, and subjects cut out of either."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from serve_app.models.embedded.backgrounds import (
    PHOTOGRAPHS,
    background,
    boards,
    crop,
    heap,
    jitter,
    noise,
    random_colour,
)
from serve_app.models.embedded.backgrounds import photograph as known

Pixels = NDArray[np.uint8]
Size = tuple[int, int]

MORE = ("camera.png", "coffee.png", "horse.png", "motorcycle_left.png", "motorcycle_right.png", "rocket.jpg")
"""Photographs of scikit-image beside PHOTOGRAPHS. Its astronaut and its cat are left out: they evaluate."""


@lru_cache(maxsize=1)
def photographs() -> tuple[Pixels, ...]:
    """Every photograph, uint8 [H, W, 3]."""
    more = []
    for name in MORE:
        with (files("skimage.data") / name).open("rb") as stream:
            picture = Image.open(stream).convert("RGB")
        picture.thumbnail((800, 800))
        more.append(np.asarray(picture))
    natural = [known(name) for name in sorted(PHOTOGRAPHS)]
    return (*natural, *more, known("china"), known("flower"))


def photograph(rng: np.random.Generator, side: int) -> Pixels:
    """A part of a photograph in other colours than it has, uint8 [side, side, 3]."""
    pictures = photographs()
    pixels = crop(rng, pictures[int(rng.integers(len(pictures)))], side, least=0.2)
    if rng.random() < 0.35:
        pixels = pixels[..., rng.permutation(3)]
    tinted = 255 * (pixels / 255) ** rng.uniform(0.6, 1.7) * rng.uniform(0.7, 1.15, 3)
    return tinted.clip(0, 255).astype(np.uint8)


def _filling(rng: np.random.Generator, side: int) -> Pixels:
    kind = rng.random()
    if kind < 0.55:
        return photograph(rng, side)
    if kind < 0.7:
        return noise(rng, side, 2)
    if kind < 0.78:
        return boards(rng, side)
    ends = np.stack([jitter(rng, random_colour(rng), 40) for _ in range(2)])
    across = np.linspace(0, 1, side)[:, None, None] ** rng.uniform(0.5, 2)
    row = np.broadcast_to((1 - across) * ends[0] + across * ends[1], (side, side, 3))
    return row.astype(np.uint8) if rng.random() < 0.5 else row.transpose(1, 0, 2).astype(np.uint8)


def _shape(rng: np.random.Generator, side: int) -> Image.Image:
    """The outline of one subject as a mask "L": a body of a few round or angular parts."""
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    x, y = rng.uniform(0.15, 0.85, 2) * side
    for _ in range(int(rng.integers(1, 5))):
        w, h = rng.uniform(0.05, 0.28, 2) * side
        if rng.random() < 0.6:
            draw.ellipse((x - w, y - h, x + w, y + h), fill=255)
        else:
            turns = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            draw.polygon([(x + 1.3 * w * np.cos(t), y + 1.3 * h * np.sin(t)) for t in turns], fill=255)
        x, y = x + rng.normal() * w, y + rng.normal() * h
    return mask.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5)))


def _composed(rng: np.random.Generator, side: int) -> Pixels:
    """Subjects before a background, each with a shadow."""
    under = background(rng, side)[0] if rng.random() < 0.5 else _filling(rng, side)
    if rng.random() < 0.4:  # ground and sky
        horizon = int(side * rng.uniform(0.25, 0.8))
        under = np.concatenate([under[:horizon], _filling(rng, side)[horizon:]])
    image = Image.fromarray(np.ascontiguousarray(under))
    for _ in range(int(rng.integers(1, 6))):
        mask = _shape(rng, side)
        if rng.random() < 0.5:
            shadow = mask.filter(ImageFilter.GaussianBlur(4)).point(lambda v: v // 2)
            image.paste((0, 0, 0), (int(rng.integers(-6, 7)), int(rng.integers(0, 7))), shadow)
        image.paste(Image.fromarray(_filling(rng, side)), mask=mask)
    return np.asarray(image)


def _strewn(rng: np.random.Generator, side: int) -> Pixels:
    """Small light or dark things with an edge round them, alone or in rows: as sharp as letters, but none."""
    image = Image.fromarray(_filling(rng, side))
    draw = ImageDraw.Draw(image)
    row = rng.random() < 0.5
    top, size = rng.uniform(0.02, 0.95) * side, rng.uniform(0.015, 0.06) * side
    for number in range(int(rng.integers(6, 50))):
        light = rng.random() < 0.7
        fill, edge = ((240,) * 3, (15,) * 3) if light else ((15,) * 3, (240,) * 3)
        if rng.random() < 0.4:
            fill = tuple(jitter(rng, random_colour(rng), 40).astype(int).tolist())
        x, y = (number * size * 2.6 % side, top) if row else rng.uniform(0, side, 2)
        w, h = size * rng.uniform(0.4, 1.5, 2)
        if rng.random() < 0.5:
            draw.ellipse((x - w, y - h, x + w, y + h), fill=fill, outline=edge)
        else:
            draw.rectangle((x - w, y - h, x + w, y + h), fill=fill, outline=edge)
    return np.asarray(image)


def _barred(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """The picture between empty bars or in a frame, as scans and letterboxes have them."""
    pixels = pixels.copy()
    side = len(pixels)
    first, second = (rng.uniform(0.02, 0.2, 2) * side).astype(int)
    tone = int(rng.choice([0, 255, 255, 128]))
    kind = rng.integers(3)
    if kind != 1:
        pixels[:first] = tone
    if kind != 0:
        pixels[side - second :] = tone
    if rng.random() < 0.4:
        pixels[:, : second // 2], pixels[:, side - second // 2 :] = tone, tone
    return pixels


def scenery(rng: np.random.Generator, side: int) -> Pixels:
    """A picture without print, uint8 [side, side, 3]."""
    kind = rng.random()
    if kind < 0.4:
        pixels = photograph(rng, side)
    elif kind < 0.75:
        pixels = _composed(rng, side)
    elif kind < 0.83:
        pixels = _strewn(rng, side)
    elif kind < 0.9:
        pixels = heap(rng, side)
    else:
        pixels = background(rng, side)[0]
    return pixels


def cluttered(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """The picture with what fills real ones: a mosaic of photographs, or branches, wires and bars, light and dark."""
    side = len(pixels)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(2, 9))):
            left, top = (rng.uniform(-0.1, 0.9, 2) * side).astype(int).tolist()
            width, height = (rng.uniform(0.1, 0.6, 2) * side).astype(int).tolist()
            image.paste(Image.fromarray(photograph(rng, 160)).resize((width, height)), (left, top))
    if rng.random() < 0.75:
        draw = ImageDraw.Draw(image)
        slope = rng.uniform(0, np.pi)
        dark = rng.random() < 0.5
        for _ in range(int(rng.integers(5, 60))):
            angle = slope + rng.normal() * rng.choice([0.02, 0.3, 1.5])
            start, reach = rng.uniform(0, side, 2), rng.uniform(0.1, 0.7) * side
            middle = start + reach / 2 * np.array([np.cos(angle), np.sin(angle)])
            end = middle + reach / 2 * np.array([np.cos(angle + 0.3), np.sin(angle + 0.3)])
            tone = rng.uniform(0, 70) if dark != (rng.random() < 0.2) else rng.uniform(170, 255)
            colour = tuple((tone + rng.normal(0, 12, 3)).clip(0, 255).astype(int).tolist())
            draw.line([*start.tolist(), *middle.tolist(), *end.tolist()], colour, int(rng.integers(1, 8)))
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.0)))
    return np.asarray(image)


def taken(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """The picture as some camera takes it: its light, its blur, its noise; perhaps without colour, perhaps framed."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    values = np.asarray(image, np.float32)
    if rng.random() < 0.3:
        ramp = np.linspace(rng.uniform(0.5, 1), 1, len(values), dtype=np.float32)
        values = values * (ramp[:, None, None] if rng.random() < 0.5 else ramp[::-1][None, :, None])
    if rng.random() < 0.4:
        values = values + rng.normal(0, rng.uniform(1, 12), values.shape).astype(np.float32)
    if rng.random() < 0.1:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    made = values.clip(0, 255).astype(np.uint8)
    return _barred(rng, made) if rng.random() < 0.06 else made
