"""A small re-implementation of the public single-process retrieval service, as a peer to be measured; no part of ours.

One Flask process holds a FAISS Flat index for pictures and one for texts. It knows no filters; here it filters what the
index gave, and asks for four times as many until enough are left, which is the least that makes its answers right.
Started as ``python peer_reference.py PORT VECTORS.npy LABELS.npz`` in an environment with flask, faiss and numpy.
"""

from __future__ import annotations

import sys

import faiss
import numpy as np
from flask import Flask, jsonify, request

MORE = 4


def create(vectors: np.ndarray, labels: dict[str, np.ndarray]) -> Flask:
    """The service over pictures [N, D] and, for each label, which of them show it: bool [N]."""
    indexes = {kind: faiss.index_factory(vectors.shape[1], "Flat", faiss.METRIC_INNER_PRODUCT) for kind in LEGACY}
    indexes["image"].add(vectors)
    app = Flask(__name__)

    @app.post("/retrieve")
    def retrieve():
        body = request.get_json()
        index, shown = indexes["image"], labels.get(body.get("label"))
        query, asked = np.asarray([body["vector"]], np.float32), body["k"]
        while True:
            scores, rows = index.search(query, min(asked, index.ntotal))
            fits = rows[0] >= 0 if shown is None else shown[rows[0]]
            if fits.sum() >= body["k"] or asked >= index.ntotal:
                break
            asked *= MORE
        kept = np.flatnonzero(fits)[: body["k"]]
        contents = [f"a{row:08}" for row in rows[0][kept]]
        return jsonify(image={"contents": contents, "scores": scores[0][kept].tolist()})

    @app.get("/ready")
    def ready():
        return jsonify(vectors=indexes["image"].ntotal)

    return app


LEGACY = ("text", "image")

if __name__ == "__main__":
    port, pictures, shown_by = sys.argv[1:]
    with np.load(shown_by) as arrays:
        service = create(np.load(pictures), dict(arrays))
    service.run("127.0.0.1", int(port), threaded=True)
