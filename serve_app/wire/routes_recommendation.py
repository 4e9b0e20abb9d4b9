"""``/v1/users/{username}/recommendations`` and what those start from who have no posts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from serve_app.wire.recommendation_schemas import MAX_K, MAX_STARTERS, Interests, Mode, Recommendations, Starters
from serve_app.wire.routing import Behind, problem_docs, reply

router = APIRouter(prefix="/v1", tags=["recommendation"])

K = Annotated[int, Query(ge=1, le=MAX_K, description="at most this many in each list")]
D = Annotated[float, Query(ge=0, le=1, allow_inf_nan=False, description="the part for what is unlike the rest")]
Turn = Annotated[int, Query(ge=0, lt=2**63, description="another number draws others; the same draws the same")]


# Names may hold slashes, so whatever stands before the last part is one.
@router.get(
    "/users/{username:path}/recommendations", response_model=Recommendations, responses=problem_docs(400, 503, 504)
)
async def recommendations(
    username: str, behind: Behind, k: K = 10, d: D = 0.2, seed: Turn = 0, mode: Mode = "all-clusters"
) -> Response:
    """Contents of other users near to this user's own posts, each with the reason. Nobody's behaviour is tracked."""
    return reply(await behind.recommendation.recommendations(username, k, d, seed, mode))


@router.put("/users/{username:path}/interests", response_model=Interests, responses=problem_docs(400, 404))
async def put_interests(username: str, body: Interests, behind: Behind) -> Response:
    """Keep what a user picked, in place of earlier picks; it counts until the user's own posts say more."""
    return reply(await behind.recommendation.put_interests(username, body))


@router.get("/users/{username:path}/interests", response_model=Interests, responses=problem_docs(400))
async def get_interests(username: str, behind: Behind) -> Response:
    """What a user picked, less what was deleted since."""
    return reply(await behind.recommendation.interests(username))


@router.get("/starter", response_model=Starters, responses=problem_docs(400, 503, 504))
async def starter(
    behind: Behind,
    k: Annotated[int, Query(ge=1, le=MAX_STARTERS, description="at most this many")] = 20,
) -> Response:
    """Contents to pick from for who has no posts: they differ from each other and stand for the catalog."""
    return reply(await behind.recommendation.starter(k))
