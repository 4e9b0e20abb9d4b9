"""Which shards an application keeps when it is deployed again with another number of them.

Serve deletes what the new application does not name at once, while older doors still ask for it, and makes the new
shards only then. So an application also names the shards that are alive, in the slicing that they have: they answer the
older doors until the new one opens, which waits for its own shards, and end some time after nobody has asked them. A
slicing is in a shard's name, so that none ever answers for a part that it does not hold.
"""

from __future__ import annotations

import re

import ray

LEAVES_AFTER_S = 120
"""How long a shard of an older slicing stays without being asked."""

_REPLICA = re.compile(r"SERVE_REPLICA::.+#FaissShard\d+of(\d+)#\w+")


def suffix(shard: int, shards: int) -> str:
    """What distinguishes a shard's name from the others'."""
    return f"{shard}of{shards}"


def alive() -> set[int]:
    """Into how many parts those shards slice the vectors whose replicas are alive on this cluster."""
    if not ray.is_initialized():
        return set()
    names = (actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True))
    return {int(found[1]) for name in names if (found := _REPLICA.fullmatch(name))}
