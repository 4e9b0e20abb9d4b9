"""Starts the back end of clip-retrieval as a peer to be measured; no part of ours.

Started as ``python peer_clip_back.py PORT FOLDER`` in an environment with clip-retrieval; FOLDER holds ``image.index``
and ``metadata/*.parquet``. Its CLIP, which it would download, is left out: the queries come as vectors.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import all_clip
import flask
from clip_retrieval.clip_back import clip_back


def main(port: int, folder: Path) -> None:
    all_clip.load_clip = lambda *args, **kwargs: (None, None, None)
    # It listens on every address by default, and says a line for every request.
    run = flask.Flask.run
    flask.Flask.run = lambda self, host, port, debug: run(self, "127.0.0.1", port, debug=debug, threaded=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    indices = folder / "indices.json"
    indices.write_text(json.dumps({"all": str(folder)}), encoding="utf-8")
    clip_back(
        indices_paths=str(indices), port=port, enable_mclip_option=False, use_jit=False,
        provide_aesthetic_embeddings=False, columns_to_return=["url"],
    )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
