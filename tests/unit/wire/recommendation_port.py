"""Recommendation behind the door: a small fake that remembers what it was asked."""

from __future__ import annotations

from typing import Any

from serve_app.errors import Problem
from serve_app.wire import recommendation_schemas as schemas

NAME = "Žižek/李 % ?#/interests"
NOTHING = schemas.Recommended(contents=[], scores=[], explanations=[])


class Recommendation:
    """Two lists with reasons, or none for who is cold."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.picked: list[str] = []

    async def recommendations(self, user: str, k: int, d: float, seed: int, mode: str) -> schemas.Recommendations:
        self.asked.append((user, k, d, seed, mode))
        if user == "broken":
            raise Problem("deadline", "no answer within 5 s")
        cold = user == "cold"
        reasons = [
            schemas.Explanation(seed="anna/d[o]g", role="medoid", cluster=0, share=0.4, similarity=0.81),
            schemas.Explanation(seed="anna/odd", role="outlier", similarity=0.5),
        ]
        found = schemas.Recommended(contents=["ben/dog", "ben/[x]"], scores=[0.81, 0.5], explanations=reasons)
        first = schemas.FromPosts(text=NOTHING if cold else found, image=NOTHING)
        lines = [] if cold else [schemas.ClusterLine(size=8, share=0.4, medoid="anna/d[o]g")]
        return schemas.Recommendations(
            text=first, image=schemas.FromPosts(text=NOTHING, image=NOTHING), mode=mode,  # type: ignore[arg-type]
            clusters=schemas.Clusters(text=lines, image=[]), cold_start=cold, partial=False, time=0.1,
        )  # fmt: skip

    async def starter(self, k: int) -> schemas.Starters:
        self.asked.append(("starter", k))
        return schemas.Starters(items=[schemas.Starter(id="ben/[x]", kind="image")] * min(k, 2), time=0.1)

    async def interests(self, user: str) -> schemas.Interests:
        self.asked.append(("interests", user))
        return schemas.Interests(ids=self.picked)

    async def put_interests(self, user: str, picked: schemas.Interests) -> schemas.Interests:
        self.asked.append(("put", user, picked.ids))
        if "nobody's" in picked.ids:
            raise Problem("not_found", "there is no asset nobody's")
        self.picked = picked.ids
        return picked
