"""Bring weights to this machine: fetch or copy, check, convert. Once they are here, nothing asks the network again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from serve_app.models.fetch import Limits, PullError, Wanted, fetch, settle
from serve_app.models.manifest import File, Model, UnusableFile
from serve_app.models.store import RECORD, Store, digest

__all__ = ["Limits", "Progress", "PullError", "Pulled", "convert_shipped", "pull"]


@dataclass(frozen=True)
class Progress:
    """What a pull is doing now; ``done`` and ``total`` are bytes, ``total`` None where it is not known."""

    model: str
    file: str
    stage: Literal["check", "wait", "fetch", "copy", "convert"]
    done: int = 0
    total: int | None = None


@dataclass(frozen=True)
class Pulled:
    """One file after a pull. ``recorded``: its hash was not known before, and is checked from now on."""

    model: str
    file: str
    path: Path
    sha256: str
    origin: Literal["present", "package", "fetched", "copied", "converted"]
    recorded: bool = False


Listener = Callable[[Progress], None]


def pull(
    store: Store,
    models: Sequence[Model],
    *,
    from_dir: Path | None = None,
    progress: Listener = lambda progress: None,
    limits: Limits | None = None,
) -> list[Pulled]:
    """Make every file of ``models`` present and right; a present file is hashed, a damaged one is brought again.

    With ``from_dir`` files are copied from that folder (found by name or by hash, at any depth) and no address is
    asked. Two pulls at once wait for each other. Raises :class:`PullError` after every model has been tried; what came
    stays.
    """
    done, failures = [], []
    for model in models:
        try:
            done += _Pull(store, model, from_dir, progress, limits or Limits()).run()
        except PullError as failure:
            failures.append(str(failure))
    if failures:
        raise PullError("\n".join(failures))
    return done


def convert_shipped(store: Store, model: Model) -> None:
    """Convert what ships with Python packages, where that has not been done: no network is needed for it.

    Does nothing for models whose files are fetched, or all shipped. Raises :class:`PullError` as :func:`pull` does.
    """
    if model.offline and not model.embedded and store.state(model) != "present":
        pull(store, [model])


@dataclass(frozen=True)
class _Pull:
    store: Store
    model: Model
    from_dir: Path | None
    progress: Listener
    limits: Limits

    def run(self) -> list[Pulled]:
        if self.model.embedded:
            return [self._shipped(logical) for logical in self.model.files]
        folder = self.store.folder(self.model)
        folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            done = [self._bring(name, file) for name, file in self.model.files.items() if not file.converted]
            return done + self._converted(fresh=any(pulled.origin in ("fetched", "copied") for pulled in done))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """A lock between processes; the kernel lifts it when its holder dies."""
        path = self.store.home / "models" / ".locks" / f"{self.model.key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self.limits.seconds
        with path.open("a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise PullError(f"another pull of {self.model.key} holds {path}") from None
                    self._say("", "wait")
                    time.sleep(0.1)
            yield

    def _bring(self, logical: str, file: File) -> Pulled:
        if file.package:
            return self._shipped(logical)
        target = self.store.path(self.model, logical)
        expected = self.store.known(self.model)[logical][0]
        found = self._hash(logical, target) if target.is_file() else None
        if found is not None and found == expected:
            return self._pulled(logical, found, "present")
        if found is not None and expected is None:
            # Nobody knows what it should be (its record was lost): keep what serves, and hold it to that from now on.
            return self._record(self._pulled(logical, found, "present"))
        if self.from_dir is not None:
            pulled = self._pulled(
                logical, self._copy(logical, file.model_copy(update={"sha256": expected}), target), "copied"
            )
        elif file.local:
            raise PullError(f"{self.model.key}: {file.local} has no public address: {self.store.remedy(self.model)}")
        else:
            wanted = Wanted(str(file.url), expected, file.bytes)
            sha256, _ = fetch(wanted, target, lambda done, total: self._say(logical, "fetch", done, total), self.limits)
            pulled = self._pulled(logical, sha256, "fetched")
        return pulled if file.sha256 else self._record(pulled)

    def _shipped(self, logical: str) -> Pulled:
        path, expected = self.store.path(self.model, logical), self.model.files[logical].sha256
        if not path.is_file():
            raise PullError(f"{self.model.key}: {path} is missing; {self.store.reinstall(self.model)}")
        found = self._hash(logical, path)
        if expected not in (None, found):
            raise PullError(f"{self.model.key}: {path} is damaged (sha256 {found}); {self.store.reinstall(self.model)}")
        return self._pulled(logical, found, "package")

    def _copy(self, logical: str, file: File, target: Path) -> str:
        """Copy from the folder to the target, the hash known beforehand checked on the copy itself."""
        source = find(self.from_dir or Path(), self.model, file)
        part = target.with_name(f"{target.name}.copy")
        size = source.stat().st_size
        self._say(logical, "copy", 0, size)
        shutil.copyfile(source, part)
        found = digest(part, lambda done: self._say(logical, "copy", done, size))
        if file.sha256 not in (None, found):
            part.unlink()
            raise PullError(f"{source} is not {file.name}: its sha256 is {found}, expected {file.sha256}")
        settle(part, target)
        for left in (".part", ".part.json"):
            target.with_name(target.name + left).unlink(missing_ok=True)
        return found

    def _converted(self, *, fresh: bool) -> list[Pulled]:
        logicals = [logical for logical, file in self.model.files.items() if file.converted]
        if not logicals:
            return []
        reports = [r for r in self.store.verify(self.model) if r.file in logicals] if not fresh else []
        if reports and all(report.state == "ok" for report in reports):
            return [self._pulled(report.file, str(report.sha256), "present") for report in reports]
        self._say("", "convert")
        folder = self.store.folder(self.model)
        for left in folder.glob(".convert-*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".convert-") as scratch:
            try:
                _convert(self.store, self.model, Path(scratch))
            except UnusableFile as error:
                self._forget(error.logical)
                raise PullError(f"{self.model.key}: {error}") from None
            for logical in logicals:
                path = self.store.path(self.model, logical)
                settle(Path(scratch, path.name), path)
        return [self._record(self._pulled(logical, self._hash(logical), "converted")) for logical in logicals]

    def _hash(self, logical: str, path: Path | None = None) -> str:
        path = path or self.store.path(self.model, logical)
        size = path.stat().st_size
        return digest(path, lambda done: self._say(logical, "check", done, size))

    def _record(self, pulled: Pulled) -> Pulled:
        record = self.store.record(self.model)
        record[pulled.path.name] = {"sha256": pulled.sha256, "bytes": pulled.path.stat().st_size}
        self._write(record)
        return replace(pulled, recorded=pulled.origin != "converted")

    def _write(self, record: dict[str, dict[str, str | int]]) -> None:
        path = self.store.folder(self.model) / RECORD
        part = path.with_suffix(".part")
        part.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        settle(part, path)

    def _forget(self, logical: str) -> None:
        """Drop a file that came without a known hash: it was a wrong one, and the next pull must not be held to it."""
        file = self.model.files[logical]
        if not file.package and file.sha256 is None:
            record = self.store.record(self.model)
            record.pop(file.name, None)
            self._write(record)
            self.store.path(self.model, logical).unlink(missing_ok=True)

    def _pulled(
        self, logical: str, sha256: str, origin: Literal["present", "package", "fetched", "copied", "converted"]
    ) -> Pulled:
        return Pulled(self.model.key, logical, self.store.path(self.model, logical), sha256, origin)

    def _say(
        self,
        logical: str,
        stage: Literal["check", "wait", "fetch", "copy", "convert"],
        done: int = 0,
        total: int | None = None,
    ) -> None:
        self.progress(Progress(self.model.key, logical, stage, done, total))


def find(folder: Path, model: Model, file: File) -> Path:
    """The file in ``folder`` that is meant: by its hash where that is known (names first), else by its name.

    Raises :class:`PullError` when there is none, or when only a name is known and several files have it.
    """
    if not folder.is_dir():
        raise PullError(f"{folder} is not a folder")
    origin = f"; it comes from {file.url}" if file.url else ""
    here = sorted(Path(where, name) for where, _, names in os.walk(folder) for name in names)
    named = [path for path in here if path.name == file.name]
    if file.sha256 is None:
        own = [path for path in named if path.parent.name in (model.key, model.name)] or named
        own = [path for path in own if path.parent == folder] or own
        if len(own) > 1:
            raise PullError(f"{folder} has {len(own)} files {file.name}; put {model.key}'s into a folder {model.key}/")
        if own:
            return own[0]
        raise PullError(f"{folder} has no {file.name}, which {model.key} needs{origin}")
    others = [path for path in here if path not in named and path.is_file()]
    sized = [path for path in others if path.stat().st_size == file.bytes or file.bytes is None]
    for path in (*named, *sized):
        if digest(path) == file.sha256:
            return path
    wrong = f" ({named[0]} has another hash)" if named else ""
    raise PullError(f"{folder} has no {file.name} with sha256 {file.sha256}{wrong}{origin}")


def _convert(store: Store, model: Model, scratch: Path) -> None:
    # torch and open_clip take seconds to import and are needed for a conversion only.
    from serve_app.models.convert import convert_classifier, convert_coca, convert_open_clip, convert_slowfast

    sources = {name: store.path(model, name) for name, file in model.files.items() if not file.converted}
    if model.convert == "open_clip" and model.clip:
        convert_open_clip(sources, model.clip, scratch)
    elif model.convert == "slowfast" and model.video:
        convert_slowfast(sources, model.video, scratch)
    elif model.convert == "dlib_face" and model.descriptor:
        from serve_app.models.dlib_face import convert_dlib_face

        convert_dlib_face(sources, model.descriptor, scratch)
    elif model.convert == "sentence_bert" and model.sentence:
        from serve_app.models.sentence_bert import convert_sentence_bert

        convert_sentence_bert(sources, model.sentence, scratch)
    elif model.convert and model.descriptor:
        from serve_app.models.face_checkpoints import convert_face

        convert_face(model.convert, sources, model.descriptor, scratch)
    elif model.convert == "coca" and model.caption:
        convert_coca(sources, model.caption, scratch)
    elif model.convert == "tfjs":
        convert_classifier(sources, scratch / str(model.files["weights"].converted))
    else:
        raise PullError(f"{model.key}: convert {model.convert} needs a section that says how")
