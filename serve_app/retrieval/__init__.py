"""Finding by text or by picture: CLIP encoders, FAISS indexes, shards and thresholds."""
