"""The DASH manifest (ISO/IEC 23009-1, on-demand profile) over the same track files, by their own indexes."""

from __future__ import annotations

from fractions import Fraction
from xml.etree import ElementTree

from serve_app.adaptation.ladder import Codec
from serve_app.adaptation.outputs import Audio, Outputs, Subtitle, Video
from serve_app.adaptation.track_files import TrackFile

MAIN = "manifest.mpd"
PROFILES = "urn:mpeg:dash:profile:isoff-on-demand:2011,urn:mpeg:dash:profile:cmaf:2019"
_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"

Element = ElementTree.Element


def manifest(outputs: Outputs) -> str:
    """The text of ``MAIN``."""
    files = [each.file for each in outputs.videos] + [each.file for each in outputs.audios]
    longest = max(max(each.duration for each in file.segments) / file.timescale for file in files)
    duration = _time(outputs.duration_s)
    mpd = Element("MPD", {
        "xmlns": "urn:mpeg:dash:schema:mpd:2011", "profiles": PROFILES, "type": "static",
        "mediaPresentationDuration": duration, "maxSubsegmentDuration": _time(longest), "minBufferTime": _time(longest),
    })  # fmt: skip
    period = ElementTree.SubElement(mpd, "Period", {"id": "0", "start": "PT0S", "duration": duration})
    for codec in dict.fromkeys(each.out.codec for each in outputs.videos):
        _videos(period, [each for each in outputs.videos if each.out.codec == codec], outputs.fps, codec)
    for number, audio in enumerate(outputs.audios):
        _audio(period, audio, number)
    for words in outputs.subtitles:
        _subtitle(period, words, outputs.duration_s)
    for number, each in enumerate(period):
        each.set("id", str(number))
    ElementTree.indent(mpd)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(mpd, encoding="unicode") + "\n"


def _videos(period: Element, videos: list[Video], fps: Fraction, codec: Codec) -> None:
    wide, tall = max(each.out.width for each in videos), max(each.out.height for each in videos)
    rate = str(fps)
    chosen = _set(period, "video", {"maxWidth": str(wide), "maxHeight": str(tall), "maxFrameRate": rate})
    for video in videos:
        size = {"width": str(video.out.width), "height": str(video.out.height), "frameRate": rate, "sar": "1:1"}
        _stream(chosen, video.out.name, video.file, size)


def _audio(period: Element, audio: Audio, number: int) -> None:
    chosen = _set(period, "audio", {"lang": audio.out.language} if audio.out.language else {})
    role = "main" if number == 0 else "alternate"
    ElementTree.SubElement(chosen, "Role", {"schemeIdUri": "urn:mpeg:dash:role:2011", "value": role})
    if audio.out.title:
        ElementTree.SubElement(chosen, "Label").text = audio.out.title
    rate = {"audioSamplingRate": str(audio.out.sample_rate)}
    stream = _stream(chosen, audio.out.name, audio.file, rate)
    channels = Element("AudioChannelConfiguration", {"schemeIdUri": _CHANNELS, "value": str(audio.out.channels)})
    stream.insert(0, channels)


def _subtitle(period: Element, words: Subtitle, duration_s: float) -> None:
    named = {"lang": words.out.language} if words.out.language else {}
    kind = {"contentType": "text", "mimeType": "text/vtt"}
    chosen = ElementTree.SubElement(period, "AdaptationSet", kind | named)
    ElementTree.SubElement(chosen, "Role", {"schemeIdUri": "urn:mpeg:dash:role:2011", "value": "subtitle"})
    if words.out.title:
        ElementTree.SubElement(chosen, "Label").text = words.out.title
    rate = {"id": words.out.name, "bandwidth": str(max(1, round(words.size * 8 / duration_s)))}
    stream = ElementTree.SubElement(chosen, "Representation", rate)
    ElementTree.SubElement(stream, "BaseURL").text = words.file


def _set(period: Element, kind: str, more: dict[str, str]) -> Element:
    aligned = {"subsegmentAlignment": "true", "subsegmentStartsWithSAP": "1"}
    what = {"contentType": kind, "mimeType": f"{kind}/mp4"}
    return ElementTree.SubElement(period, "AdaptationSet", what | aligned | more)


def _stream(chosen: Element, name: str, file: TrackFile, more: dict[str, str]) -> Element:
    what = {"id": name, "codecs": file.codecs, "bandwidth": str(file.peak)}
    stream = ElementTree.SubElement(chosen, "Representation", what | more)
    ElementTree.SubElement(stream, "BaseURL").text = file.path.name
    first = file.header_size
    place = {"indexRange": f"{first}-{first + file.index_size - 1}", "timescale": str(file.timescale)}
    base = ElementTree.SubElement(stream, "SegmentBase", place)
    ElementTree.SubElement(base, "Initialization", {"range": f"0-{first - 1}"})
    return stream


def _time(seconds: float) -> str:
    return f"PT{seconds:.3f}S"
