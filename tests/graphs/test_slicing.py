"""Which shards stay when an application is deployed again with another number of them."""

from __future__ import annotations

import asyncio

import pytest
import ray

from deployments.ingress import until_there
from graphs import slicing
from graphs.app import _shards, _sizes
from serve_app.config import AppArgs, load_resources
from serve_app.models.manifest import load_manifest

REPLICAS = [
    "SERVE_CONTROLLER_ACTOR",
    "SERVE_REPLICA::mediaverse#Ingress#1udm1djg",
    "SERVE_REPLICA::mediaverse#FaissShard0of12#a38lcml9",
    "SERVE_REPLICA::mediaverse#FaissShard11of12#p056qxhi",
    "SERVE_REPLICA::mediaverse#FaissShard0of2#p056qxhj",
    "SERVE_REPLICA::mediaverse#FaissShard0#cco7wb80",
]


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    named = [{"name": name, "namespace": "serve"} for name in REPLICAS]
    monkeypatch.setattr(ray.util, "list_named_actors", lambda all_namespaces: named if all_namespaces else [])


def deployment(application):
    return application._bound_deployment


def test_the_slicings_of_living_shards_are_found(cluster):
    assert slicing.alive() == {2, 12}


def test_without_a_cluster_none_lives():
    assert slicing.alive() == set()


def test_shards_are_named_by_their_slicing_and_hold_that_part(cluster, monkeypatch):
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 2.0})
    args = AppArgs(shards=3)
    rows = args.rows(load_manifest())
    for count, leaving in ((3, False), (2, True)):
        shards = [deployment(each) for each in _shards(args, _sizes(args, {2}), rows, count, leaving=leaving)]
        assert [shard.name for shard in shards] == [f"FaissShard{i}of{count}" for i in range(count)]
        recipes = [shard.init_args[0] for shard in shards]
        assert [(recipe.shard, recipe.shards) for recipe in recipes] == [(i, count) for i in range(count)]
        least = {shard._deployment_config.autoscaling_config.min_replicas for shard in shards}
        assert least == {0 if leaving else 1}
        assert {shard.ray_actor_options["num_cpus"] == 0 for shard in shards} == {leaving}


@pytest.mark.parametrize(
    ("free", "alive", "beside"), [(0.15, {1}, True), (0.15, set(), False), (0.05, {1}, False), (0.05, {2}, True)]
)
def test_a_replacement_starts_beside_where_there_is_room_after_the_new_shards(
    cluster, monkeypatch, free, alive, beside
):
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": free})
    assert load_resources().cpu.deployments["faiss_shard"].num_cpus == 0.1
    args = AppArgs(resources="cpu")
    (shard,) = _shards(args, _sizes(args, alive), args.rows(load_manifest()), 1)
    assert deployment(shard)._deployment_config.max_surge_percent == (100 if beside else 0)


class Method:
    def __init__(self, call):
        self.remote = call


class Handle:
    def __init__(self, after_s):
        self.answered = False
        self.after_s = after_s
        self.status = Method(self.answer)

    async def answer(self):
        await asyncio.sleep(self.after_s)
        self.answered = True


def test_a_new_door_waits_for_every_shard():
    shards = [Handle(0.05), Handle(0.0)]
    asyncio.run(until_there(shards, 60))
    assert all(shard.answered for shard in shards)


def test_a_new_door_does_not_wait_for_ever():
    shards = [Handle(60), Handle(0.0)]
    asyncio.run(until_there(shards, 0.05))
    assert [shard.answered for shard in shards] == [False, True]
