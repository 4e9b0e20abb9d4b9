"""A real browser that plays a video and tells what it showed: Chromium, by its own player of HLS."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any, ClassVar

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_PAGE = """<!doctype html><meta charset="utf-8"><video muted playsinline autoplay crossorigin></video><script>
const video = document.querySelector("video");
let first = null, said = false;
video.requestVideoFrameCallback((now, frame) => { first = frame.mediaTime; });
function say(why) {
  if (said) return;
  said = true;
  const seen = video.getVideoPlaybackQuality();
  const body = {why, first, total: seen.totalVideoFrames, width: video.videoWidth, height: video.videoHeight,
                seconds: video.duration, sound: video.webkitAudioDecodedByteCount};
  fetch("/result", {method: "POST", body: JSON.stringify(body)});
}
video.addEventListener("ended", () => setTimeout(say, 200, "ended"));
video.addEventListener("error", () => say(video.error.message));
video.src = ADDRESS;
</script>"""


class _Stage(http.server.BaseHTTPRequestHandler):
    """Serves the page, which plays what another server has."""

    address: ClassVar[str]
    heard: ClassVar[threading.Event]
    seen: ClassVar[dict[str, Any]]

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/" else 404, _PAGE.replace("ADDRESS", json.dumps(self.address)).encode())

    def do_POST(self) -> None:
        type(self).seen = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(204, b"")
        self.heard.set()

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def play(address: str, within_s: float = 90) -> dict[str, Any]:
    """What Chromium showed of the playlist at ``address``: why it ended, how many frames in all, when the first."""
    assert BROWSER is not None
    stage = type("Stage", (_Stage,), {"address": address, "heard": threading.Event(), "seen": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), stage) as server, tempfile.TemporaryDirectory() as profile:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--no-first-run")
        free = "--autoplay-policy=no-user-gesture-required"
        page = f"http://127.0.0.1:{server.server_port}/"
        browser = subprocess.Popen(
            [BROWSER, *options, free, f"--user-data-dir={Path(profile) / 'p'}", page],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            assert stage.heard.wait(within_s), "the browser said nothing"
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            server.shutdown()
    return stage.seen
