"""Files made of an asset, kept with it: all of them or none, and none that nothing refers to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from graphs.places import Places
from serve_app.catalog import Asset, NewRendition
from serve_app.errors import Problem


@dataclass(frozen=True)
class Publisher:
    """Keeps and drops files that stand in Files already."""

    places: Places

    async def publish(self, asset: Asset, made: Sequence[NewRendition], folder: str | None = None) -> None:
        """Keep ``made`` in place of earlier ones of their names, or of all in ``folder``. Raises ``Problem``, and
        deletes their files then.

        Finished even when the task is cancelled meanwhile, so that no row names a file that is gone.
        """
        await asyncio.shield(self._replace(asset, made, folder))

    async def drop(self, made: Sequence[NewRendition]) -> None:
        """Delete the files of what is not kept."""
        await asyncio.shield(asyncio.to_thread(self.places.files.delete, [each.file for each in made]))

    async def _replace(self, asset: Asset, made: Sequence[NewRendition], folder: str | None) -> None:
        put = self.places.catalog.renditions.put
        try:
            obsolete = await asyncio.to_thread(put, asset.id, made, sha256=asset.sha256, folder=folder)
        except (Problem, ValueError) as error:
            # Only what was refused for certain: a commit whose answer was lost may have kept the rows.
            if isinstance(error, ValueError) or error.status < 500:
                await self.drop(made)
            raise
        await asyncio.to_thread(self.places.files.delete, obsolete)
