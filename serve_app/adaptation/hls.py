"""HLS playlists (RFC 8216bis) over track files: segments and key pictures are ranges of bytes of them."""

from __future__ import annotations

from collections.abc import Iterable

from serve_app.adaptation.outputs import Audio, Outputs, Subtitle, Video
from serve_app.adaptation.track_files import TrackFile

MAIN = "master.m3u8"
VERSION = 7
"""Fragmented MP4 in playlists that are not of key pictures alone asks for 6, independent segments beside it for 7."""


def playlists(outputs: Outputs) -> dict[str, str]:
    """The text of each playlist by its file name; ``MAIN`` names the others."""
    texts = {MAIN: _main(outputs)}
    for video in outputs.videos:
        texts[f"{video.out.name}.m3u8"] = _media(video.file)
        texts[f"{video.out.name}-keys.m3u8"] = _keys(video.file)
    for audio in outputs.audios:
        texts[f"{audio.out.name}.m3u8"] = _media(audio.file)
    for words in outputs.subtitles:
        texts[f"{words.out.name}.m3u8"] = _words(words, outputs.duration_s)
    return texts


def _main(outputs: Outputs) -> str:
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    groups = _groups(outputs.audios)
    for codec, audios in groups.items():
        lines += [_audio(codec, each, number) for number, each in enumerate(audios)]
    lines += [_subtitle(each, number) for number, each in enumerate(outputs.subtitles)]
    for video in outputs.videos:
        for codec in _partners(video, groups) or [""]:
            lines += _variant(outputs, video, codec, groups.get(codec, []))
    if not outputs.videos:
        for codec, audios in groups.items():
            rates = _rates([each.file for each in audios[:1]])
            lines += [f'#EXT-X-STREAM-INF:{rates},CODECS="{audios[0].file.codecs}",AUDIO="{codec}"', _uri(audios[0])]
    for video in outputs.videos:
        lines.append(_trick(video))
    return "\n".join([*lines, ""])


def _groups(audios: Iterable[Audio]) -> dict[str, list[Audio]]:
    groups: dict[str, list[Audio]] = {}
    for each in audios:
        groups.setdefault(each.out.codec, []).append(each)
    return groups


def _partners(video: Video, groups: Iterable[str]) -> list[str]:
    """Which sounds go with a stream of pictures: what every player knows with what every player knows, and the newer
    with the newer; all that there are where the right one is not among them."""
    fitting = "aac" if video.out.codec == "h264" else "opus"
    return [fitting] if fitting in groups else list(groups)


def _audio(group: str, audio: Audio, number: int) -> str:
    return _attributes(
        "#EXT-X-MEDIA:", TYPE="AUDIO", GROUP_ID=f'"{group}"', **_named(audio.out.title, audio.out.language, number),
        DEFAULT="YES" if number == 0 else "NO", AUTOSELECT="YES", CHANNELS=f'"{audio.out.channels}"',
        URI=f'"{_uri(audio)}"',
    )  # fmt: skip


def _subtitle(words: Subtitle, number: int) -> str:
    return _attributes(
        "#EXT-X-MEDIA:", TYPE="SUBTITLES", GROUP_ID='"subtitles"',
        **_named(words.out.title, words.out.language, number),
        DEFAULT="NO", AUTOSELECT="YES", FORCED="NO", URI=f'"{words.out.name}.m3u8"',
    )  # fmt: skip


def _named(title: str | None, language: str | None, number: int) -> dict[str, str]:
    """NAME must differ within a group."""
    name = " ".join(filter(None, (title or language or "Track", str(number + 1) if number else "")))
    return {"NAME": f'"{name}"'} | ({"LANGUAGE": f'"{language}"'} if language else {})


def _variant(outputs: Outputs, video: Video, codec: str, audios: list[Audio]) -> list[str]:
    sound = max(audios, key=lambda each: each.file.peak) if audios else None
    files = [video.file] + ([sound.file] if sound else [])
    codecs = ",".join(dict.fromkeys(each.codecs for each in files))
    more = {"AUDIO": f'"{codec}"'} if audios else {}
    if outputs.subtitles:
        more["SUBTITLES"] = '"subtitles"'
    rates = _rates(files)
    line = _attributes(
        f"#EXT-X-STREAM-INF:{rates},", CODECS=f'"{codecs}"', RESOLUTION=f"{video.out.width}x{video.out.height}",
        FRAME_RATE=f"{float(outputs.fps):.3f}", **more, CLOSED_CAPTIONS="NONE",
    )  # fmt: skip
    return [line, f"{video.out.name}.m3u8"]


def _trick(video: Video) -> str:
    segments = video.file.segments
    peak = max(-(-each.key_size * 8 * video.file.timescale // each.duration) for each in segments)
    return _attributes(
        "#EXT-X-I-FRAME-STREAM-INF:", BANDWIDTH=str(peak), CODECS=f'"{video.file.codecs}"',
        RESOLUTION=f"{video.out.width}x{video.out.height}", URI=f'"{video.out.name}-keys.m3u8"',
    )  # fmt: skip


def _rates(files: list[TrackFile]) -> str:
    return f"BANDWIDTH={sum(f.peak for f in files)},AVERAGE-BANDWIDTH={sum(f.average for f in files)}"


def _media(file: TrackFile) -> str:
    parts = ((each.duration / file.timescale, each.size, each.offset) for each in file.segments)
    return _listed(file, parts, ["#EXT-X-INDEPENDENT-SEGMENTS"])


def _keys(file: TrackFile) -> str:
    parts = ((each.duration / file.timescale, each.key_size, each.offset) for each in file.segments)
    return _listed(file, parts, ["#EXT-X-I-FRAMES-ONLY"])


def _listed(file: TrackFile, parts: Iterable[tuple[float, int, int]], more: list[str]) -> str:
    longest = max(each.duration for each in file.segments) / file.timescale
    name = file.path.name
    lines = [*_head(longest), *more, f'#EXT-X-MAP:URI="{name}",BYTERANGE="{file.header_size}@0"']
    for seconds, size, offset in parts:
        lines += [f"#EXTINF:{seconds:.6f},", f"#EXT-X-BYTERANGE:{size}@{offset}", name]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def _words(words: Subtitle, duration_s: float) -> str:
    lines = [*_head(duration_s), f"#EXTINF:{duration_s:.6f},", words.file, "#EXT-X-ENDLIST", ""]
    return "\n".join(lines)


def _head(longest_s: float) -> list[str]:
    """A duration rounds to at most the target."""
    target = f"#EXT-X-TARGETDURATION:{max(1, int(longest_s + 0.5))}"
    return ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", target, "#EXT-X-PLAYLIST-TYPE:VOD"]


def _uri(audio: Audio) -> str:
    return f"{audio.out.name}.m3u8"


def _attributes(start: str, **values: str) -> str:
    return start + ",".join(f"{name.replace('_', '-')}={value}" for name, value in values.items())
