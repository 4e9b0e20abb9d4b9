"""Scenes by what lies on both sides of a frame: cuts, fades and dissolves, but no flash and no camera move.

Ideas from the literature: a change against the changes around it (PySceneDetect's AdaptiveDetector), flashes known
by the frames that follow them, dissolves as blends of two pictures (both: Lienhart, "Reliable transition detection in
videos: a survey and practitioner's guide", 2001), correlation over all shifts by Fourier transforms (Padfield, "Masked
object registration in the Fourier domain", 2012).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from serve_app.annotation.scenes_correlation import SHARED_VARIANCE, Pixels, centred

SIDE = 25
_PADDED = (50, 50)  # at least 2 * SIDE - 1, so that no shift wraps round


@dataclass(frozen=True)
class Shown:
    """A frame that shows something: its index, its picture, the deviation of its greys (with what all pictures are
    taken to share) and the correlation with the one shown before it."""

    frame: int
    picture: Pixels
    deviation: float
    likeness: float


class AdaptiveDetector:
    """Decides each frame when ``REACH`` more are known, by the pictures (grey, 25 x 25) on both sides of it.

    A **cut** is a frame that begins something else: none of the ``SIDES`` frames from it on resembles any of the
    ``SIDES`` before it (so a flash, a strobe or a passer-by is none), no shift of the picture explains the change (so
    a whip pan is none), and the change stands out of the changes around it (so noise is none).

    A **dissolve** begins a scene where the new picture outweighs the old: the ends of a span around that frame differ,
    no shift explains it, and every frame between them is a blend of the two - which in a camera move it is not.

    A **fade** goes through frames that show nothing (black, white, anything flat). These are left out, so that a fade
    becomes a cut, at the first frame that shows the new picture. Nothing to nothing is no boundary, and a flat picture
    begins no scene.
    """

    SIDES = 6
    SPANS = (3, 6, 12, 24, 48)
    REACH = SPANS[-1]
    latency = REACH + 1  # a dissolve is seen one frame late

    FLAT_VARIANCE = 4.0
    CONTRAST = 20.0  # grey levels of deviation
    # Calibrated on generated clips over photographs other than those of the benchmark.
    CUT_LIKENESS = 0.55  # of any two frames across a cut
    SHIFT_LIKENESS = 0.78  # of two pictures of different scenes at the best shift
    SHORTEST = 3  # frames of a scene
    CUT_STANDS_OUT = 2.0  # times the mean change around it
    DISSOLVE_STANDS_OUT = 1.5  # times the lesser change around it
    ENDS_LIKENESS = 0.6  # of the pictures at both ends of a dissolve
    STEP_LIKENESS = 0.6  # at least, of consecutive frames in it
    BLEND_RESIDUAL = 0.07  # mean squared distance from a blend, in parts of that of the ends

    def __init__(self) -> None:
        self._frames = 0
        self._shown: list[Shown] = []
        self._next = 0  # the first of _shown not decided
        self._last = -self.REACH  # the frame that began the last scene found
        self._settled = 0  # the last frame that takes part in the last dissolve found

    def push(self, thumbnail: NDArray[np.uint8]) -> list[int]:
        picture = _small(thumbnail)
        variance = float(picture @ picture) / len(picture)
        if variance >= self.FLAT_VARIANCE:
            shown = Shown(self._frames, picture, sqrt(variance + SHARED_VARIANCE), 0.0)
            self._shown.append(replace(shown, likeness=_alike(self._shown[-1], shown)) if self._shown else shown)
        self._frames += 1
        return self._decide(self._frames - 1 - self.REACH)

    def finish(self) -> list[int]:
        return self._decide(self._frames)

    def _decide(self, until: int) -> list[int]:
        """All frames up to index ``until``; forgets what no later decision looks at."""
        found: list[int] = []
        while self._next < len(self._shown) and self._shown[self._next].frame <= until:
            frame = self._judge(self._next)
            found += [] if frame is None else [frame]
            self._next += 1
            if self._next > 2 * self.REACH:
                del self._shown[0]
                self._next -= 1
        return found

    def _judge(self, at: int) -> int | None:
        """The frame that begins a scene at or just before the shown frame number ``at``, if one does."""
        frame = self._shown[at].frame
        if at == 0:  # the first of all: later ones keep their past
            begins = frame if frame and self._is_contrasty(at) else None
        elif self._is_cut(at):
            # Of cuts in a row, such as the last dim frames of a fade are, the last one counts.
            following = range(at + 1, min(at + self.SHORTEST, len(self._shown)))
            begins = None if any(self._is_cut(other) for other in following) else frame
        else:
            begins = self._dissolved(at)
        self._last = self._last if begins is None else begins
        return begins

    def _is_contrasty(self, at: int) -> bool:
        """A first picture that jumps out of a flat leader, and does not fade in."""
        return self._shown[at].deviation >= self.CONTRAST

    def _is_cut(self, at: int) -> bool:
        now = self._shown[at]
        if now.likeness >= self.CUT_LIKENESS:
            return False
        first, last = max(at - self.SIDES, 0), min(at + self.SIDES, len(self._shown))
        around = [1 - one.likeness for one in self._shown[max(first, 1) : last] if one is not now]
        if around and 1 - now.likeness < self.CUT_STANDS_OUT * float(np.mean(around)):
            return False
        before, after = self._shown[first:at], self._shown[at:last]
        if any(_alike(a, b) >= self.CUT_LIKENESS for a in before for b in after):
            return False
        return shifted_correlation(before[-1].picture, now.picture) < self.SHIFT_LIKENESS

    def _dissolved(self, at: int) -> int | None:
        """The frame at which a dissolve turns, if that is ``at`` or the frame before."""
        if self._shown[at].frame <= self._settled:
            return None
        for span in reversed(self.SPANS):
            first, last = at - span, at + span
            if first < 0 or last >= len(self._shown) or self._shown[at].frame - self._last <= span:
                continue
            change = 1 - _alike(self._shown[first], self._shown[last])
            if change <= 1 - self.ENDS_LIKENESS or change < self.DISSOLVE_STANDS_OUT * self._change_around(first, last):
                continue
            if min(one.likeness for one in self._shown[first + 1 : last + 1]) < self.STEP_LIKENESS:
                continue
            old, new = self._shown[first].picture, self._shown[last].picture
            between = np.stack([one.picture for one in self._shown[first + 1 : last]])
            shares, residual = blend(old, new, between)
            if residual.mean() > self.BLEND_RESIDUAL:
                continue
            late = span - 1 - int((shares < 0.5).sum())
            if late not in (0, 1):
                return None
            if shifted_correlation(old, new) >= self.SHIFT_LIKENESS:
                continue
            self._settled = self._shown[at + span].frame
            return self._shown[at].frame - late
        return None

    def _change_around(self, first: int, last: int) -> float:
        """The lesser change over as many frames before ``first`` or after ``last`` as lie between, if so many are."""
        pairs = [(max(2 * first - last, 0), first), (last, min(2 * last - first, len(self._shown) - 1))]
        return min(1 - _alike(self._shown[a], self._shown[b]) for a, b in pairs)


def _alike(one: Shown, other: Shown) -> float:
    """``scenes_correlation.correlation`` of pictures whose deviations are known."""
    covariance = float(one.picture @ other.picture) / len(one.picture) + SHARED_VARIANCE
    return covariance / (one.deviation * other.deviation)


def blend(old: Pixels, new: Pixels, between: Pixels) -> tuple[Pixels, Pixels]:
    """Each row of ``between`` [N, P] as the nearest (1 - share) * ``old`` + share * ``new``, share in [0, 1].

    Gives the shares and the squared distances from these blends in parts of that of ``old`` and ``new``; [N] each.
    """
    across = new - old
    whole = across @ across
    # By products of the pictures themselves: three quarters less work than by their differences.
    along = (between @ across - old @ across) / whole
    distances = (np.einsum("np,np->n", between, between) - 2 * (between @ old) + old @ old) / whole
    shares = along.clip(0.0, 1.0)
    return shares, distances - 2 * shares * along + shares**2


def shifted_correlation(first: Pixels, second: Pixels) -> float:
    """The highest correlation of two pictures [SIDE * SIDE] over all shifts at which half of their area overlaps."""
    one, two = (np.fft.rfft2(_stack(picture), _PADDED) for picture in (first, second[::-1]))
    # Sums over the overlap, by shift: of both pictures' values, of their squares, and of their products.
    pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 1), (0, 0)]
    sum_b, sum_a, squares_b, squares_a, products, area = np.fft.irfft2(
        np.stack([one[i] * two[j] for i, j in pairs]), _PADDED
    )
    enough = area >= SIDE * SIDE / 2
    sum_a, sum_b, squares_a, squares_b, products, area = (
        sums[enough] for sums in (sum_a, sum_b, squares_a, squares_b, products, area)
    )
    covariance = products / area - sum_a * sum_b / area**2
    variances = [
        np.maximum(squares / area - (sums / area) ** 2, 0.0) + SHARED_VARIANCE
        for squares, sums in ((squares_a, sum_a), (squares_b, sum_b))
    ]
    return float(((covariance + SHARED_VARIANCE) / np.sqrt(variances[0] * variances[1])).max())


def _stack(picture: Pixels) -> Pixels:
    square = picture.reshape(SIDE, SIDE)
    return np.stack([np.ones_like(square), square, square**2])


def _small(thumbnail: NDArray[np.uint8]) -> Pixels:
    """Grey [SIDE * SIDE], averaged over squares and centred: what moves by a thumbnail's pixel is nearly the same."""
    step = thumbnail.shape[0] // SIDE
    grey = centred(thumbnail).reshape(SIDE, step, SIDE, step)
    # A sum of few slices, as ``mean`` over short axes costs five times as much.
    corners = [grey[:, row, :, column] for row in range(step) for column in range(step)]
    small: Pixels = (sum(corners[1:], corners[0]) / len(corners)).reshape(-1)
    return small
