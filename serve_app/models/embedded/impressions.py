"""Words that can be computed from any picture: its main colours, where they lie, how bright and how busy it is.

They give real photographs an honest place among the captions without a label.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve_app.models.embedded.words import COLOURS, colour_word

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


def _main(counts: NDArray[np.int64]) -> tuple[str, float]:
    best = int(counts.argmax())
    return list(COLOURS)[best], float(counts[best] / max(1, counts.sum()))


def impression(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> str:
    """A caption of colour, layout, brightness and busyness of uint8 [H, W, 3], in varied wording."""
    small = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BOX))
    names = colour_names(small)
    size = len(COLOURS)
    counts = np.bincount(names.ravel(), minlength=size)
    main, share = _main(counts)
    grey = small.astype(np.float32).mean(-1)
    colourless = float(np.ptp(small.astype(np.int16), axis=-1).mean()) < 6
    parts: list[str] = []
    if colourless:
        parts.append(("in black and white", "black-and-white", "in shades of grey")[int(rng.integers(3))])
    elif share > 0.55:
        parts.append(f"mostly {colour_word(rng, main)}")
    else:
        second = list(COLOURS)[int(np.argsort(counts)[-2])]
        parts.append(f"{colour_word(rng, main)} and {colour_word(rng, second)}")
    if not colourless:
        parts += _layout(rng, names)
    level = float(grey.mean())
    if level > 165:
        parts.append(("bright", "light")[int(rng.integers(2))])
    elif level < 75:
        parts.append("dark")
    roughness = float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())
    if roughness > 38:
        parts.append(("full of detail", "busy")[int(rng.integers(2))])
    elif roughness < 8:
        parts.append(("smooth", "soft")[int(rng.integers(2))])
    keep = [part for part in parts if rng.random() < 0.8] or parts[:1]
    lead = ("a picture", "a photo", "a photograph", "an image")[int(rng.integers(4))]
    return f"{lead}, {', '.join(keep)}" if rng.random() < 0.7 else f"{', '.join(keep)} {lead.split()[1]}"


def _layout(rng: np.random.Generator, names: NDArray[np.int64]) -> list[str]:
    size = len(COLOURS)
    regions = {
        "above": names[:12],
        "below": names[20:],
        "left": names[:, :12],
        "right": names[:, 20:],
        "middle": names[10:22, 10:22],
    }
    main = {where: _main(np.bincount(part.ravel(), minlength=size)) for where, part in regions.items()}

    def say(where: str) -> str:
        return colour_word(rng, main[where][0])

    said: list[str] = []
    for one, two, joint in (("above", "below", ("above", "below")), ("left", "right", ("on the left", "on the right"))):
        if main[one][0] != main[two][0] and min(main[one][1], main[two][1]) > 0.5:
            said.append(f"{say(one)} {joint[0]} and {say(two)} {joint[1]}")
    around = _main(np.bincount(np.concatenate([names[:6].ravel(), names[26:].ravel()]), minlength=size))[0]
    if not said and main["middle"][1] > 0.5 and main["middle"][0] != around:
        said.append(f"{say('middle')} in the middle")
    return said
