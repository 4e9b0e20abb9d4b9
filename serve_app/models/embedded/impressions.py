"""What can be computed of any picture: its main colours, where they lie, how bright and how busy it is.

They give real photographs an honest place among the captions without a label.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve_app.models.embedded.words import COLOURS, colour_word, listed, other, pick

_HUES = (
    ("red", 12),
    ("orange", 40),
    ("yellow", 68),
    ("green", 160),
    ("turquoise", 195),
    ("blue", 255),
    ("purple", 290),
    ("pink", 342),
    ("red", 361),
)
_CELLS = 32  # a picture is judged as this many cells each way
_REGIONS = {
    "top": np.s_[:12, :],
    "bottom": np.s_[20:, :],
    "left": np.s_[:, :12],
    "right": np.s_[:, 20:],
    "centre": np.s_[10:22, 10:22],
}
_WHERE = {
    "top": ("above", "at the top"),
    "bottom": ("below", "at the bottom"),
    "left": ("on the left",),
    "right": ("on the right",),
    "centre": ("in the middle", "in the centre"),
}
_ACROSS = {"top": "bottom", "bottom": "top", "left": "right", "right": "left", "centre": "top"}
_LIGHT = {"bright": ("bright", "light"), "dark": ("dark",)}
_DETAIL = {"busy": ("full of detail", "busy", "crowded"), "smooth": ("smooth", "soft", "plain")}


def colour_names(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The nearest colour word of each pixel [H, W, 3] as an index into ``COLOURS``, by hue, saturation and value."""
    names = list(COLOURS)
    rgb = pixels.astype(np.float32) / 255
    high, low = rgb.max(-1), rgb.min(-1)
    spread = high - low
    safe = np.maximum(spread, 1e-6)
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    hue = np.where(high == r, (g - b) / safe % 6, np.where(high == g, (b - r) / safe + 2, (r - g) / safe + 4)) * 60
    edges = np.array([limit for _, limit in _HUES])
    by_hue = np.array([names.index(name) for name, _ in _HUES])[
        np.searchsorted(edges, hue, side="right").clip(0, len(_HUES) - 1)
    ]
    warm = np.isin(by_hue, [names.index("red"), names.index("orange"), names.index("yellow")])
    result = np.where(warm & (high < 0.62) & (hue < 50), names.index("brown"), by_hue)
    dull = spread / np.maximum(high, 1e-6) < 0.2
    result = np.where(dull, names.index("grey"), result)
    result = np.where(dull & (high > 0.82), names.index("white"), result)
    return np.where((high < 0.2) | ((spread < 0.07) & (high < 0.25)), names.index("black"), result)


@dataclass(frozen=True)
class Impression:
    """``colours``: one where it covers more than half of the picture, otherwise the two most frequent; ``places``:
    regions and the colour that rules there; ``light`` bright, dark or empty; ``detail`` busy, smooth or empty;
    ``what`` names the picture where that is known."""

    colours: tuple[str, ...]
    places: tuple[tuple[str, str], ...]
    colourless: bool
    light: str
    detail: str
    what: str = ""

    def describe(self, rng: np.random.Generator, full: bool) -> str:
        tone, colours, places, light, detail, what = (full or rng.random() < keep for keep in (0.8,) * 5 + (0.7,))
        words = [colour_word(rng, colour) for colour in self.colours]
        spots = [f"{colour_word(rng, colour)} {pick(rng, _WHERE[where])}" for where, colour in self.places]
        black_and_white = pick(rng, ("in black and white", "black-and-white", "in shades of grey"))
        said = (
            (tone and self.colourless, black_and_white),
            (colours or not (places and spots), f"mostly {words[0]}" if len(words) == 1 else listed(words)),
            (places and spots, listed(spots or [""])),
            (light, pick(rng, _LIGHT.get(self.light, ("",)))),
            (detail, pick(rng, _DETAIL.get(self.detail, ("",)))),
        )
        keep = [part for kept, part in said if kept and part]
        lead, before = pick(rng, ("a picture", "a photo", "a photograph", "an image")), rng.random() < 0.7
        if what and self.what:
            lead = f"{lead} of {self.what}" if rng.random() < 0.5 else self.what
        return f"{lead}, {', '.join(keep)}" if before else f"{', '.join(keep)}, {lead}"

    def altered(self, rng: np.random.Generator) -> Impression:
        fate = rng.random()
        if self.places and fate < 0.3:
            return replace(self, places=tuple((_ACROSS[where], colour) for where, colour in self.places))
        if self.places and fate < 0.5:
            (where, colour), *rest = self.places
            return replace(self, places=((where, other(rng, list(COLOURS), colour)), *rest))
        if fate < 0.65 and self.light:
            return replace(self, light="dark" if self.light == "bright" else "bright")
        if fate < 0.75 and self.detail:
            return replace(self, detail="smooth" if self.detail == "busy" else "busy")
        number = int(rng.random() * len(self.colours))
        fresh = pick(rng, [name for name in COLOURS if name not in self.colours])
        return replace(self, colours=(*self.colours[:number], fresh, *self.colours[number + 1 :]))


def impression(pixels: NDArray[np.uint8], what: str = "") -> Impression:
    """Colour, layout, brightness and busyness of uint8 [H, W, 3]."""
    small = np.asarray(Image.fromarray(pixels).resize((_CELLS, _CELLS), Image.Resampling.BOX))
    names = colour_names(small)
    counts = _counts(names)
    first, second = (list(COLOURS)[index] for index in np.argsort(-counts, kind="stable")[:2])
    grey = small.astype(np.float32).mean(-1)
    level = float(grey.mean())
    roughness = float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())
    return Impression(
        (first,) if counts.max() > 0.55 * counts.sum() else (first, second),
        _layout(names),
        float(np.ptp(small.astype(np.int16), axis=-1).mean()) < 6,
        "bright" if level > 165 else "dark" if level < 75 else "",
        "busy" if roughness > 38 else "smooth" if roughness < 8 else "",
        what,
    )


def _counts(names: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(names.ravel(), minlength=len(COLOURS))


def _layout(names: NDArray[np.int64]) -> tuple[tuple[str, str], ...]:
    """The regions that one colour rules, where the region across is ruled by another."""
    ruler: dict[str, str | None] = {}
    for where, region in _REGIONS.items():
        counts = _counts(names[region])
        ruler[where] = list(COLOURS)[int(counts.argmax())] if counts.max() > 0.5 * counts.sum() else None
    edges = _counts(
        np.concatenate([names[:6].ravel(), names[26:].ravel(), names[:, :6].ravel(), names[:, 26:].ravel()])
    )
    around = list(COLOURS)[int(edges.argmax())]
    found = []
    for one, two in (("top", "bottom"), ("left", "right")):
        if ruler[one] and ruler[two] and ruler[one] != ruler[two]:
            found += [(one, str(ruler[one])), (two, str(ruler[two]))]
    if ruler["centre"] and ruler["centre"] != around:
        found.append(("centre", str(ruler["centre"])))
    return tuple(found)
