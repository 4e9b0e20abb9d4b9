"""The training of the embedded action model: generated clips, a small SlowFast, and honest probabilities at the end."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from serve_app.models.embedded.corpus import Corpus
from serve_app.models.embedded.export import as_stored, export
from serve_app.models.embedded.figures import least_threshold
from serve_app.models.embedded.motion import BACKWARDS, LABELS, TRANSPOSED, draw, shoot
from serve_app.models.embedded.motion_paths import FRAMES, progress, sign
from serve_app.models.embedded.motion_render import CROP, render, targets
from serve_app.models.embedded.motion_world import World, calibration_world, training_world
from serve_app.models.slowfast import INPUT, OUTPUT, SlowFast, SlowFastConfig

MEAN, STD = 0.5, 0.25  # of all channels, in 0..1
CALIBRATION_SEED = 2_000_003
WRONG = 0.02  # the share of clips, at most, that the threshold lets have a wrong label
CONFIG = SlowFastConfig(
    classes=len(LABELS),
    frames=FRAMES,
    crop=CROP,
    beta_inv=2,
    stem=32,
    slow_stem_kernel=(1, 5, 5),
    fast_stem_kernel=(5, 5, 5),
    stem_pool=False,
    widths=(16, 24, 32, 48),
    depths=(1, 1, 1, 1),
    strides=(2, 2, 2, 2),
    dropout=0.1,
)


def normalised(clips: NDArray[np.uint8]) -> Tensor:
    """Clips uint8 [N, T, H, W, 3] as the network takes them, float32 [N, 3, T, H, W], channels last in memory."""
    x = torch.from_numpy(clips).float().sub_(255 * MEAN).div_(255 * STD)
    return x.permute(0, 4, 1, 2, 3)


def turned_about(
    rng: np.random.Generator, clips: NDArray[np.uint8], target: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The same clips backwards, half of them with rows and columns exchanged, and what is true of them then."""
    clips, target = clips[:, ::-1].copy(), target[:, BACKWARDS].copy()
    free = np.flatnonzero((target[:, LABELS.index("object bouncing")] == 0) & (rng.random(len(clips)) < 0.5))
    clips[free], target[free] = clips[free].swapaxes(2, 3), target[free][:, TRANSPOSED]
    return clips, target


def fading(rng: np.random.Generator, count: int, world: World) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Clips of still views that fade from or to black or white, which stay static, or into each other, of which no
    label is true: each is as likely as the others."""
    shots = [shoot(rng, "static") for _ in range(2 * count)]
    clips, target = render(rng, shots, world).astype(np.float32), targets(shots)[:count]
    first, second = clips[:count], clips[count:]
    for number in range(count):
        if rng.random() < 0.6:
            second[number] = rng.choice([0.0, 255.0], p=[0.75, 0.25])
        else:
            target[number] = 1 / len(LABELS)
        share = progress(rng)[:: sign(rng)].astype(np.float32)[:, None, None, None]
        first[number] += (second[number] - first[number]) * share
    return first.round().astype(np.uint8), target


class MotionJob:
    """``calibration`` clips make the probabilities true at the end; a share ``fades`` of all clips fade."""

    def __init__(self, corpus: Corpus, seed: int, config: SlowFastConfig = CONFIG, calibration: int = 1800) -> None:
        self.calibration, self.fades = calibration, 0.0
        self.world = training_world(seed, corpus.pixels, len(corpus) // 2)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = SlowFast(config).to(memory_format=torch.channels_last_3d)
            _begin(self.model)

    def with_fades(self, share: float) -> MotionJob:
        """The same job, model and all, with other clips."""
        other = copy.copy(self)
        other.fades = share
        return other

    def _clips(
        self, rng: np.random.Generator, count: int, world: World
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        fades = round(self.fades * count)
        shots = draw(rng, count - fades)
        clips, target = render(rng, shots, world), targets(shots)
        if not fades:
            return clips, target
        others = fading(rng, fades, world)
        return np.concatenate([clips, others[0]]), np.concatenate([target, others[1]])

    def loss(self, seed: int, step: int, batch: int) -> Tensor:
        """Half of the batch are new clips, the other half the same ones turned about: they cost nothing to render."""
        rng = np.random.default_rng([seed, step])
        clips, target = self._clips(rng, batch // 2, self.world)
        others = turned_about(rng, clips, target)
        device = next(self.model.parameters()).device
        x = normalised(np.concatenate([clips, others[0]])).to(device)
        y = torch.from_numpy(np.concatenate([target, others[1]])).to(device)
        with torch.autocast(device.type, torch.bfloat16), torch.random.fork_rng():
            torch.manual_seed(int(rng.integers(2**62)))  # the dropout's, so that a resumed run is the same
            logits = self.model(x)
        return F.cross_entropy(logits.float(), y)

    def export(self, out: Path) -> list[Path]:
        path = out / "motion.onnx"
        model, metadata = self._calibrated()
        config = model.config
        shape = (2, 3, config.frames, config.crop, config.crop)
        example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        export(nn.Sequential(model, nn.Softmax(-1)), example, path, INPUT, OUTPUT, metadata)
        return [path]

    def _calibrated(self) -> tuple[SlowFast, dict[str, float]]:
        """The model as stored, its logits divided by a temperature (Guo et al. 2017) that fits clips held out, and a
        threshold that fits the same clips; what the file says about them."""
        rng = np.random.default_rng(CALIBRATION_SEED)
        clips, truth = self._clips(rng, self.calibration, calibration_world())
        target = torch.from_numpy(truth)
        logits = predicted(as_stored(self.model), clips)
        tries = torch.exp(torch.linspace(-1.5, 1.5, 301))
        losses = torch.stack([F.cross_entropy(logits / one, target) for one in tries])
        temperature = float(tries[losses.argmin()])
        model = copy.deepcopy(self.model)
        with torch.no_grad():
            for weight in model.blocks[-1].parameters():
                weight.div_(temperature)
        best, named = (logits / temperature).softmax(-1).max(dim=1)
        wrong = target.gather(1, named[:, None])[:, 0] == 0
        threshold = least_threshold(best[wrong].numpy(), len(clips), WRONG)
        return as_stored(model), {"threshold": threshold, "temperature": temperature}


def _begin(model: SlowFast) -> None:
    """Let the fast stem begin as detectors of moving edges, and every block take part: it learns much sooner so.

    The stem's filters are waves that drift in eight directions, in two phases, on brightness alone (Adelson and Bergen
    1985); as many as it has. Blocks that begin as the identity are for networks far deeper than this one.
    """
    for name, weight in model.named_parameters():
        if name.endswith("norm_c.weight"):
            nn.init.ones_(weight)
    stem = model.get_parameter("blocks.0.multipathway_blocks.1.conv.weight")
    axes = [torch.arange(size) - size // 2 for size in stem.shape[2:]]
    t, y, x = torch.meshgrid(*axes, indexing="ij")
    near = torch.exp(-(x**2 + y**2 + t**2) / 4.5)
    with torch.no_grad():
        for number in range(min(16, len(stem))):
            angle, phase = torch.tensor(number % 8 * torch.pi / 4), number // 8 * torch.pi / 2
            wave = near * torch.cos(2 * torch.pi / 5 * (angle.cos() * x + angle.sin() * y - t) + phase)
            wave -= near * wave.sum() / near.sum()
            stem[number] = wave / wave.norm() * stem[number].norm() / 3**0.5


def predicted(model: SlowFast, clips: NDArray[np.uint8], batch: int = 64) -> Tensor:
    """Logits [N, 18] of clips uint8 [N, T, H, W, 3]."""
    model.eval()
    with torch.no_grad():
        parts = [model(normalised(clips[first : first + batch])) for first in range(0, len(clips), batch)]
    return torch.cat(parts)
