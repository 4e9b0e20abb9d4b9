import asyncio
import pickle
import threading
import time

import pytest
from ray.exceptions import RayTaskError

from deployments.batcher import Batcher, BatchSizes, Gatherer, attempted, settled
from serve_app.errors import Problem


def run(coroutine):
    return asyncio.run(coroutine)


def test_answers_reach_their_own_items_in_any_batching():
    async def scenario():
        batcher = Batcher(lambda xs: [x * x for x in xs], BatchSizes(max_batch_size=7))
        return await asyncio.gather(*(batcher.submit(i) for i in range(100)))

    assert run(scenario()) == [i * i for i in range(100)]


def test_it_collects_while_the_model_is_busy():
    sizes = []

    def model(xs):
        sizes.append(len(xs))
        time.sleep(0.05)
        return xs

    async def scenario():
        batcher = Batcher(model, BatchSizes(max_batch_size=64))
        first = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, *(batcher.submit(i) for i in range(1, 41)))

    run(scenario())
    assert sizes == [1, 40]


def test_a_bad_item_fails_alone():
    def model(xs):
        if 13 in xs:
            raise ValueError("unlucky")
        return xs

    async def scenario():
        batcher = Batcher(model, BatchSizes(max_batch_size=32))
        return await asyncio.gather(*(batcher.submit(i) for i in range(32)), return_exceptions=True)

    answers = run(scenario())
    assert [a for a in answers if not isinstance(a, Exception)] == [i for i in range(32) if i != 13]
    assert str(answers[13]) == "unlucky"


def test_an_exception_given_as_an_answer_is_raised_for_its_item_without_a_second_run():
    calls = []

    def model(xs):
        calls.append(list(xs))
        return [KeyError("no") if x == 1 else x for x in xs]

    async def scenario():
        batcher = Batcher(model)
        return await asyncio.gather(*(batcher.submit(i) for i in range(3)), return_exceptions=True)

    answers = run(scenario())
    assert answers[0] == 0
    assert isinstance(answers[1], KeyError)
    assert answers[2] == 2
    assert len(calls) == 1


def test_a_wrong_number_of_answers_is_an_error_not_a_hang():
    async def scenario():
        return await asyncio.wait_for(Batcher(lambda xs: []).submit(1), 2)

    with pytest.raises(RuntimeError, match="0 answers for 1 items"):
        run(scenario())


def test_a_cancelled_item_is_never_run_and_blocks_nobody():
    seen = []
    gate = threading.Event()

    def model(xs):
        seen.extend(xs)
        gate.wait(2)
        return xs

    async def scenario():
        batcher = Batcher(model)
        first = asyncio.create_task(batcher.submit("first"))
        await asyncio.sleep(0.02)
        gone = asyncio.create_task(batcher.submit("gone"))
        stays = asyncio.create_task(batcher.submit("stays"))
        await asyncio.sleep(0.02)
        gone.cancel()
        gate.set()
        return await asyncio.gather(first, gone, stays, return_exceptions=True)

    answers = run(scenario())
    assert answers[0] == "first"
    assert isinstance(answers[1], asyncio.CancelledError)
    assert answers[2] == "stays"
    assert seen == ["first", "stays"]


def test_a_full_queue_refuses_and_recovers():
    gate = threading.Event()

    def model(xs):
        gate.wait(2)
        return xs

    async def scenario():
        batcher = Batcher(model, BatchSizes(max_batch_size=1, max_queue=2))
        running = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.02)
        waiting = [asyncio.create_task(batcher.submit(i)) for i in (1, 2)]
        await asyncio.sleep(0.02)
        with pytest.raises(Problem) as refused:
            await batcher.submit(3)
        gate.set()
        answers = await asyncio.gather(running, *waiting)
        return refused.value.code, answers, await batcher.submit(4)

    assert run(scenario()) == ("overloaded", [0, 1, 2], 4)


def test_sizes_change_while_serving_and_nonsense_is_refused():
    sizes = []

    def model(xs):
        sizes.append(len(xs))
        return xs

    async def scenario():
        batcher = Batcher(model, BatchSizes(max_batch_size=2))
        await asyncio.gather(*(batcher.submit(i) for i in range(4)))
        batcher.sizes = BatchSizes.of({"max_batch_size": 4})
        await asyncio.gather(*(batcher.submit(i) for i in range(4)))

    run(scenario())
    assert sizes == [2, 2, 4]
    with pytest.raises(ValueError, match="at least 1"):
        BatchSizes(max_batch_size=0)
    with pytest.raises(TypeError):
        BatchSizes.of({"max_batch": 3})


def test_what_comes_while_others_are_asked_is_asked_together():
    asked = []

    async def many(items):
        asked.append(items)
        await asyncio.sleep(0.02)
        return [10 * item for item in items]

    async def scenario():
        gatherer = Gatherer(many, BatchSizes(max_batch_size=5), lanes=2)
        return await asyncio.gather(*(gatherer.submit(i) for i in range(12)))

    assert run(scenario()) == [10 * i for i in range(12)]
    assert [len(items) for items in asked] == [5, 5, 2]


def test_lanes_go_side_by_side_and_one_that_is_stuck_leaves_the_other():
    stuck = asyncio.Event()

    async def many(items):
        if "stuck" in items:
            await stuck.wait()
        return items

    async def scenario():
        gatherer = Gatherer(many, lanes=2)
        first = asyncio.create_task(gatherer.submit("stuck"))
        await asyncio.sleep(0.01)
        assert [await gatherer.submit(i) for i in range(3)] == [0, 1, 2]
        stuck.set()
        return await first

    assert run(scenario()) == "stuck"


def test_what_fails_for_all_fails_for_each_and_what_is_given_for_one_for_it_alone():
    async def many(items):
        if items == ["all", "together"]:
            raise Problem("unavailable", "nobody is there")
        return [Problem("bad_request", item) if item == "bad" else item for item in items]

    async def scenario(*items):
        gatherer = Gatherer(many)
        done = await asyncio.gather(*(gatherer.submit(item) for item in items), return_exceptions=True)
        return [each.code if isinstance(each, Problem) else each for each in done]

    assert run(scenario("all", "together")) == ["unavailable"] * 2
    assert run(scenario("good", "bad", "fine")) == ["good", "bad_request", "fine"]


def test_too_few_answers_are_an_error_and_too_many_items_are_refused():
    async def many(items):
        await asyncio.sleep(0.01)
        return items[1:]

    async def scenario():
        gatherer = Gatherer(many, BatchSizes(max_batch_size=1, max_queue=2))
        return await asyncio.gather(*(gatherer.submit(i) for i in range(3)), return_exceptions=True)

    first, second, third = run(scenario())
    assert isinstance(first, RuntimeError)
    assert isinstance(second, RuntimeError)
    assert third.code == "overloaded"


def test_who_left_is_not_asked_for():
    asked = []

    async def many(items):
        asked.append(items)
        await asyncio.sleep(0.01)
        return items

    async def scenario():
        gatherer = Gatherer(many)
        first, second, third = (asyncio.create_task(gatherer.submit(name)) for name in "abc")
        await asyncio.sleep(0)
        second.cancel()
        assert await first == "a"
        return await third

    assert run(scenario()) == "c"
    assert "b" not in [name for items in asked[1:] for name in items]


def test_answers_travel_with_what_went_wrong_in_their_place():
    async def answer(item):
        if item == "problem":
            raise Problem("bad_request", "no")
        if item == "crash":
            raise ZeroDivisionError("by nothing")
        return item

    fine, problem, crash = run(settled([answer(item) for item in ("fine", "problem", "crash")]))
    assert (fine, problem.code) == ("fine", "bad_request")
    assert "by nothing" in str(crash)
    assert isinstance(crash.cause, ZeroDivisionError)
    copy = pickle.loads(pickle.dumps(crash))
    assert isinstance(copy, RayTaskError)


def test_an_item_that_cannot_be_prepared_has_its_problem_in_its_place():
    def half(number):
        if number % 2:
            raise Problem("bad_request", f"{number} is odd")
        return number // 2

    first, second = attempted(half, [4, 5])
    assert first == 2
    assert isinstance(second, Problem)
    assert second.detail == "5 is odd"
