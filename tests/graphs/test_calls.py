"""One call of a deployment: tried again once when a replica died, every failure a problem."""

from __future__ import annotations

import asyncio
import pickle
import time
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from graphs.calls import call
from serve_app.errors import Problem
from tests.graphs.world import Method


class Script:
    """Does one thing a call: raises an exception, waits a number of seconds, or gives anything else."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.asked: list[tuple[Any, ...]] = []
        self.cancelled = False

    async def __call__(self, *args: Any) -> Any:
        self.asked.append(args)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, float):
            try:
                await asyncio.sleep(step)
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        return step


def run(script: Script, *args: Any, timeout_s: float = 5.0) -> Any:
    return asyncio.run(call(Method(script), *args, timeout_s=timeout_s))


def refused(script: Script, timeout_s: float = 5.0) -> Problem:
    with pytest.raises(Problem) as caught:
        run(script, timeout_s=timeout_s)
    assert type(caught.value) is Problem
    return caught.value


DEATHS = [RayActorError(), ActorDiedError(), ActorUnavailableError("it hangs", None)]
BUSY = [
    BackPressureError(num_queued_requests=5, max_queued_requests=5),
    DeploymentUnavailableError(DeploymentID(name="encoder")),
]


def test_an_answer_is_passed_on() -> None:
    script = Script("answer")
    assert run(script, b"picture", 3) == "answer"
    assert script.asked == [(b"picture", 3)]


@pytest.mark.parametrize("death", DEATHS, ids=repr)
def test_a_dead_replica_costs_one_more_try_with_the_same_arguments(death: Exception) -> None:
    script = Script(death, "answer")
    assert run(script, "text") == "answer"
    assert script.asked == [("text",), ("text",)]


@pytest.mark.parametrize("death", DEATHS, ids=repr)
def test_two_deaths_are_an_overload_and_no_third_try(death: Exception) -> None:
    script = Script(death, death, "never")
    assert refused(script).code == "overloaded"
    assert len(script.asked) == 2


@pytest.mark.parametrize("busy", BUSY, ids=repr)
def test_a_full_queue_is_an_overload_at_once(busy: Exception) -> None:
    script = Script(busy, "never")
    assert refused(script).code == "overloaded"
    assert len(script.asked) == 1
    assert refused(Script(ActorDiedError(), busy)).code == "overloaded"


@pytest.mark.parametrize("shape", ["plain", "dual", "pickled"])
def test_a_problem_comes_through_as_it_was_raised(shape: str) -> None:
    problem = Problem("undecodable_media", "the picture is broken", "send another")
    error = RayTaskError("detect", "Traceback ...", problem)
    if shape != "plain":
        error = error.as_instanceof_cause()
    if shape == "pickled":
        error = pickle.loads(pickle.dumps(RayTaskError("detect", "Traceback ...", problem))).as_instanceof_cause()
    script = Script(error, "never")
    found = refused(script)
    assert (found.code, found.detail, found.remedy) == (problem.code, problem.detail, problem.remedy)
    assert len(script.asked) == 1, "what the deployment itself refused is not asked again"


def test_a_crash_inside_a_deployment_is_neither_retried_nor_hidden() -> None:
    script = Script(RayTaskError("detect", "Traceback ...", ValueError("shape")).as_instanceof_cause(), "never")
    with pytest.raises(RayTaskError) as caught:
        run(script)
    assert isinstance(caught.value, ValueError)
    assert len(script.asked) == 1


def test_an_answer_that_does_not_come_is_a_deadline_and_its_request_is_given_up() -> None:
    script = Script(30.0)
    started = time.monotonic()
    found = refused(script, timeout_s=0.05)
    assert found.code == "deadline"
    assert "0.05 s" in found.detail
    assert script.cancelled
    assert time.monotonic() - started < 5


def test_both_tries_together_have_one_deadline() -> None:
    script = Script(ActorDiedError(), 30.0)
    assert refused(script, timeout_s=0.05).code == "deadline"
    assert len(script.asked) == 2


def test_a_caller_that_goes_away_takes_its_request_along() -> None:
    script = Script(30.0)

    async def scenario() -> None:
        asking = asyncio.create_task(call(Method(script)))
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(scenario())
    assert script.cancelled
