"""Builds the index that clip-retrieval's own tools would build, in its environment.

``python peer_clip_index.py KIND VECTORS.npy FOLDER``: KIND is ``autofaiss``, which chooses as ``clip-retrieval index``
does at its defaults, or ``Flat``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
from autofaiss import build_index


def main(kind: str, vectors: Path, folder: Path) -> None:
    rows = np.load(vectors)
    (folder / "metadata").mkdir(parents=True)
    frame = pd.DataFrame({"url": [f"a{number:08}" for number in range(len(rows))]})
    frame.to_parquet(folder / "metadata" / "0.parquet")
    if kind == "Flat":
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        faiss.write_index(index, str(folder / "image.index"))
        return
    build_index(
        rows, index_path=str(folder / "image.index"), index_infos_path=str(folder / "infos.json"), metric_type="ip",
        max_index_memory_usage="4G", current_memory_available="16G", verbose=30,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
