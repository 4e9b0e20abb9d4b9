"""A plan as one command of FFmpeg: the source is decoded once, and every stream encoded from that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ffmpeg

from serve_app.adaptation.plan import AudioOut, Plan, VideoOut
from serve_app.adaptation.sprites import COLUMNS, ROWS, SHEET, Sprite
from serve_app.media.tracks import Source, VideoTrack

_FRAGMENTS = "+cmaf+empty_moov+default_base_moof+delay_moov"
"""The header waits for the first packet: only then it tells (by an edit list) how much comes before the beginning,
which is reordering of pictures and run-up of sound."""
_MAX_STREAMS = 32
_TIMESCALE = 10_000
"""Ticks a second, at least: a whole number of them is a frame."""


def ladder_command(binary: str, plan: Plan, file: str, to: Path, max_s: float) -> list[str]:
    """Makes ``NAME.mp4`` of each stream of pictures or sound, with a fragment a segment, ``NAME.vtt`` of words and
    a sheet of small pictures.

    What comes after ``max_s`` seconds is not read, whatever the headers say.
    """
    source = guarded(plan.source, file, t=max_s)
    outputs = []
    if plan.videos:
        assert plan.source.video is not None
        pictures = _pictures(source[str(plan.source.video.index)], plan, plan.source.video)
        split = pictures.filter_multi_output("split", len(plan.videos) + (plan.sprite is not None))
        outputs += [_video(split[number], plan, each, to) for number, each in enumerate(plan.videos)]
        if plan.sprite is not None:
            outputs.append(_sheet(split[len(plan.videos)], plan.sprite, to))
    for track in dict.fromkeys(each.track for each in plan.audios):
        wanted = [each for each in plan.audios if each.track == track]
        # Silence where the source has none, so that sound and pictures begin together.
        whole = source[str(track)].filter("aresample", **{"async": 1, "first_pts": 0})
        shared = whole.filter_multi_output("asplit", len(wanted))
        outputs += [_audio(shared[number], plan, each, to) for number, each in enumerate(wanted)]
    for words in plan.subtitles:
        path = f"file:{to / words.name}.vtt"
        outputs.append(ffmpeg.output(source[str(words.track)], path, **{"c:s": "webvtt", "f": "webvtt"}, **BARE))
    return compiled(binary, *outputs)


BARE: dict[str, Any] = {"map_metadata": "-1", "map_chapters": "-1"}
"""Nothing of what the source says about its maker, place or time."""


def compiled(binary: str, *outputs: Any) -> list[str]:
    """The command of these outputs, which tells its progress on standard output and nothing but errors besides."""
    said = ("-nostdin", "-hide_banner", "-v", "error", "-nostats", "-progress", "pipe:1")
    merged = ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]
    return [str(word) for word in ffmpeg.compile(merged.global_args(*said), cmd=binary, overwrite_output=True)]


def guarded(source: Source, file: str, **options: Any) -> Any:
    """The file as an input that is read as what its content is, and can lead to no other."""
    guards = {"protocol_whitelist": "file", "format_whitelist": source.demuxer, "max_streams": _MAX_STREAMS}
    return ffmpeg.input(f"file:{file}", f=source.demuxer, **guards, **options)


def standard(pictures: Any, track: VideoTrack, width: int, height: int) -> Any:
    """High dynamic range mapped to standard, in ``width`` x ``height``; what is standard already as it is."""
    if track.hdr is None:
        return pictures
    # Linear light takes 12 bytes a pixel, so pictures are shrunk before.
    linear = pictures.filter("zscale", w=width, h=height, transfer="linear", npl=100).filter("format", "gbrpf32le")
    mapped = linear.filter("zscale", primaries="bt709").filter("tonemap", "hable", desat=0)
    return mapped.filter("zscale", transfer="bt709", matrix="bt709", range="tv").filter("format", "yuv420p")


def _pictures(stream: Any, plan: Plan, track: VideoTrack) -> Any:
    """From the first instant on at an even rate, upright, 8 bits and of standard dynamic range."""
    even = stream.filter("fps", fps=str(plan.fps), start_time=0)
    return standard(even, track, *max((each.width, each.height) for each in plan.videos))


def _video(pictures: Any, plan: Plan, out: VideoOut, to: Path) -> Any:
    scaled = pictures.filter("scale", out.width, out.height, flags="bicubic", out_range="tv").filter("setsar", 1)
    encoder = plan.encoders[out.codec]
    options: dict[str, Any] = {"c:v": encoder.encoder, "pix_fmt": "yuv420p", **encoder.options}
    options |= {"g": plan.segment_frames, "keyint_min": plan.segment_frames}
    options |= {"maxrate": out.bit_rate, "bufsize": 2 * out.bit_rate}
    if plan.rate == "capped":
        options["crf"] = encoder.crf
    # To libvpx a rate beside the quality is the most that it may spend, and without one it has no bound.
    if plan.rate == "fixed" or encoder.encoder == "libvpx-vp9":
        options["b:v"] = out.bit_rate
    if out.profile is not None:
        options["profile:v"] = out.profile
    timescale = plan.fps.numerator * -(-_TIMESCALE // plan.fps.numerator)
    options |= {"movflags": f"{_FRAGMENTS}+frag_keyframe", "video_track_timescale": timescale, "f": "mp4"}
    return ffmpeg.output(scaled, f"file:{to / out.name}.mp4", **options, **BARE)


def _sheet(pictures: Any, sprite: Sprite, to: Path) -> Any:
    # Rounding to the nearest shows the picture in the middle of its interval.
    few = pictures.filter("fps", fps=str(1 / sprite.interval_s), start_time=0, eof_action="pass")
    small = few.filter("scale", sprite.width, sprite.height, flags="area", out_range="pc").filter("setsar", 1)
    sheet = small.filter("tile", f"{COLUMNS}x{ROWS}")
    options = {"frames:v": 1, "c:v": "mjpeg", "q:v": 5, "pix_fmt": "yuvj420p", "f": "image2", "update": 1}
    return ffmpeg.output(sheet, f"file:{to / SHEET}", **options, **BARE)


def _audio(sound: Any, plan: Plan, out: AudioOut, to: Path) -> Any:
    encoder = plan.encoders[out.codec]
    options: dict[str, Any] = {"c:a": encoder.encoder, "b:a": out.bit_rate, **encoder.options}
    options |= {"ac": out.channels, "ar": out.sample_rate}
    options |= {"movflags": _FRAGMENTS, "frag_duration": round(plan.segment_s * 1_000_000), "f": "mp4"}
    return ffmpeg.output(sound, f"file:{to / out.name}.mp4", **options, **BARE)
