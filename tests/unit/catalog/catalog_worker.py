"""A process that opens the catalog and writes; it prints each id once the catalog has acknowledged it.

``catalog_worker.py URL open`` opens and ends; ``URL write NAME COUNT THREADS`` adds COUNT contents in each thread;
``URL batches NAME COUNT THREADS`` adds COUNT batches of assets, labels and vectors, and prints a batch's first id;
``URL claim LEASE_S`` claims a job and holds it until it is killed, a minute at most.
"""

from __future__ import annotations

import sys
import threading
import time

from catalog_samples import BATCH, REVISION, picture, posted, vector

from serve_app.catalog import Addition, Answer, Catalog, Key, Tag


def write(catalog: Catalog, name: str, count: int) -> None:
    for number in range(count):
        asset_id = f"{name}-{number}"
        added = catalog.contents.add(posted(asset_id, data=asset_id), vector(number), REVISION)
        sys.stdout.write(f"{added.asset_id}\n")
        sys.stdout.flush()


def write_batches(catalog: Catalog, name: str, count: int) -> None:
    for number in range(count):
        first = f"{name}-{number}"
        # The same pictures again and again, so that each batch touches the vectors of the one before.
        news = [picture(f"{first}-{n}", data=f"{name}{n}") for n in range(BATCH)]
        catalog.assets.add_many([Addition(new) for new in news])
        catalog.vectors.put_many([(Key(new.owner, "image", new.sha256), vector(1)) for new in news], REVISION)
        catalog.annotations.put_many([Answer(str(new.id), "objects", {}, (Tag("object", "dog"),)) for new in news])
        sys.stdout.write(f"{first}\n")
        sys.stdout.flush()


def hold(catalog: Catalog, lease_s: float) -> None:
    job = catalog.jobs.claim("killed", lease_s)
    sys.stdout.write(f"{job.id if job else None}\n")
    sys.stdout.flush()
    for _ in range(600):
        if job is not None:
            catalog.jobs.renew(job, lease_s)
        time.sleep(0.1)


def main(url: str, what: str, *rest: str) -> None:
    catalog = Catalog.open(url)
    if what in ("write", "batches"):
        work = write if what == "write" else write_batches
        name, count, threads = rest[0], int(rest[1]), int(rest[2])
        running = [threading.Thread(target=work, args=(catalog, f"{name}{i}", count)) for i in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    if what == "claim":
        hold(catalog, float(rest[0]))
    catalog.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
