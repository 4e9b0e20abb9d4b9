"""The recommender over a real catalog: what is old answers at once and is renewed afterwards, once."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    from deployments.recommender import Recommender

from serve_app.catalog import Catalog, NewContent
from serve_app.recommendation.seeds import Asked

REVISION = "clip@1"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/catalog.db"


def post(url: str, name: str, count: int) -> None:
    catalog, items = Catalog.open(url), []
    for number in range(count):
        digest = hashlib.sha256(f"{name} {number}".encode()).hexdigest()
        row = np.eye(64)[0] + np.random.default_rng([number, len(name)]).normal(size=64) * 0.05
        new = NewContent(f"anna/{name}{number}", "anna", "text", "text/plain", digest, 3, f"aa/{digest}")
        items.append((new, (row / np.linalg.norm(row)).astype(np.float32)))
    catalog.contents.add_many(items, REVISION)
    catalog.close()


async def rest(made: Any) -> None:
    while made.renewing:
        await asyncio.sleep(0.01)


def test_a_profile_is_renewed_after_the_answer_and_once(url: str) -> None:
    async def work() -> tuple[list[int], int]:
        made, renewals = Recommender.func_or_class(url), 0
        real, gate = made.keeper.renew, threading.Event()

        def slow(*args: Any) -> Any:
            nonlocal renewals
            if renewals:
                gate.wait(10)
            renewals += 1
            return real(*args)

        made.keeper.renew = slow
        asked = Asked("anna", REVISION, 5)
        posts = [(await made.plan(asked))["text"].posts]
        post(url, "new", 2)
        posts += [(await made.plan(asked))["text"].posts for _ in range(3)]
        gate.set()
        await rest(made)
        posts.append((await made.plan(asked))["text"].posts)
        made.keeper.catalog.close()
        return posts, renewals

    post(url, "cat", 100)
    assert asyncio.run(work()) == ([100, 100, 100, 100, 102], 2)


def test_a_failed_renewal_is_told_and_tried_again(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> int:
        made = Recommender.func_or_class(url)
        asked = Asked("anna", REVISION, 5)
        await made.plan(asked)
        post(url, "new", 2)
        real = made.keeper.renew
        made.keeper.renew = lambda *args: 1 / 0
        await made.plan(asked)
        await rest(made)
        made.keeper.renew = real
        await made.plan(asked)
        await rest(made)
        posts = (await made.plan(asked))["text"].posts
        made.keeper.catalog.close()
        return int(posts)

    post(url, "cat", 100)
    assert asyncio.run(work()) == 102
    assert "was not renewed" in caplog.text


def test_a_starter_set_is_given(url: str) -> None:
    async def work() -> Any:
        made = Recommender.func_or_class(url)
        items = await made.starter(REVISION, 3)
        made.keeper.catalog.close()
        return items

    post(url, "cat", 9)
    items = asyncio.run(work())
    assert len(items) == 3
    assert all(kind == "text" and name.startswith("anna/cat") for name, kind in items)
