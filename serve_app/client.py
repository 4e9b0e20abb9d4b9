"""A client of the HTTP service, for the command line: patient with a busy service, clear about a refusal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from serve_app.errors import CODES, Problem
from serve_app.wire import sse

_TRIES = 6
_PAGE = 500


class Client:
    """Calls one service. Every method raises ``Problem`` for what the service refuses or when it is not there.

    So does the constructor for what is no URL.
    """

    def __init__(self, url: str, timeout_s: float = 120.0) -> None:
        self.url = url.rstrip("/")
        try:
            self._http = httpx.Client(base_url=self.url, timeout=timeout_s)
        except httpx.InvalidURL as error:
            raise Problem("bad_request", f"{url} is no address: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def annotate(self, file: Path, annotators: str | None = None) -> dict[str, Any]:
        """``POST /v1/annotate/image``."""
        params = {"annotators": annotators} if annotators else {}
        return self._post_file("/v1/annotate/image", file, {}, params=params)

    def annotate_video(
        self,
        file: Path,
        annotators: str | None = None,
        seed: int = 0,
        on_progress: Callable[[dict[str, Any]], None] = lambda progress: None,
    ) -> dict[str, Any]:
        """``POST /v1/annotate/video``, which says how far it is while it lasts."""
        options: dict[str, Any] = {"params": _given({"annotators": annotators, "seed": seed})}
        with _opened(file) as part, closing(self._events("POST", "/v1/annotate/video", files=part, **options)) as told:
            for name, body in told:
                if name == "result":
                    return body
                on_progress(body)
        raise self._broken_off()

    def annotate_3d(self, file: Path, annotators: str | None = None) -> dict[str, Any]:
        """``POST /v1/annotate/3d``; patient, since large files take minutes."""
        return self._post_file("/v1/annotate/3d", file, {}, params=_given({"annotators": annotators}), timeout=600.0)

    def search_text(self, text: str, **options: Any) -> dict[str, Any]:
        """``POST /v1/search`` by text."""
        return self._json("POST", "/v1/search", json={"text": text} | _given(options))

    def search_file(self, file: Path, **options: Any) -> dict[str, Any]:
        """``POST /v1/search`` by picture."""
        fields = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in options.items()}
        return self._post_file("/v1/search", file, {name: fields[name] for name in _given(options)})

    def add(self, file: Path, owner: str, id: str) -> dict[str, Any]:
        """``POST /v1/assets``."""
        return self._post_file("/v1/assets", file, {"owner": owner, "id": id})

    def add_many(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """``POST /v1/assets:batch``: the outcome of each item, in their order."""
        body = b"".join(json.dumps(item).encode() + b"\n" for item in items)
        named = {"Content-Type": "application/x-ndjson"}
        response = self._send("POST", "/v1/assets:batch", content=body, headers=named)
        try:
            outcomes = [json.loads(line) for line in response.text.splitlines()]
        except ValueError as error:
            raise self._broken_off() from error
        if [outcome["line"] for outcome in outcomes] != list(range(1, len(items) + 1)):
            raise self._broken_off()
        return outcomes

    def asset(self, id: str) -> dict[str, Any]:
        """``GET /v1/assets/{id}``."""
        return self._json("GET", f"/v1/assets/{quote(id)}")

    def assets(self, owner: str) -> Iterator[dict[str, Any]]:
        """Every asset of an owner, newest first."""
        return self._pages("/v1/assets", owner=owner)

    def delete(self, id: str) -> None:
        """``DELETE /v1/assets/{id}``."""
        self._send("DELETE", f"/v1/assets/{quote(id)}")

    def jobs(self, state: str | None = None, asset_id: str | None = None) -> Iterator[dict[str, Any]]:
        """Every job, of a state or an asset, newest first."""
        return self._pages("/v1/jobs", state=state, asset_id=asset_id)

    def job(self, id: str) -> dict[str, Any]:
        """``GET /v1/jobs/{id}``."""
        return self._json("GET", f"/v1/jobs/{quote(id, safe='')}")

    def cancel(self, id: str) -> dict[str, Any]:
        """``DELETE /v1/jobs/{id}``; gives the job, which may have ended before."""
        return self._json("DELETE", f"/v1/jobs/{quote(id, safe='')}")

    def watch(self, id: str) -> Iterator[dict[str, Any]]:
        """The job now and at each change, until it has ended."""
        with closing(self._events("GET", f"/v1/jobs/{quote(id, safe='')}/events")) as told:
            for name, job in told:
                yield job
                if name == "end":
                    return
        raise self._broken_off()

    def index_status(self) -> dict[str, Any]:
        """``GET /v1/index``."""
        return self._json("GET", "/v1/index")

    def reindex(self, model: str) -> dict[str, Any]:
        """``POST /v1/index/reindex``; gives the job. Opening a large model may take minutes."""
        return self._json("POST", "/v1/index/reindex", json={"model": model}, timeout=600.0)

    def rollback(self) -> dict[str, Any]:
        """``POST /v1/index/rollback``; gives the job."""
        return self._json("POST", "/v1/index/rollback", json={}, timeout=600.0)

    def doctor(self, repair: bool = False, files: bool = False) -> dict[str, Any]:
        """``GET /v1/index/doctor``, or ``POST`` for what mends it; patient, where ``files`` are looked at."""
        if repair:
            return self._json("POST", "/v1/index/doctor")
        return self._json("GET", "/v1/index/doctor", params={"files": files}, timeout=3600.0 if files else 120.0)

    def people(self) -> Iterator[dict[str, Any]]:
        """Whom the service recognises, newest first."""
        return self._pages("/v1/people")

    def person(self, name: str) -> dict[str, Any]:
        """``GET /v1/people/{name}``."""
        return self._json("GET", _person(name))

    def add_person(self, name: str, files: Sequence[Path]) -> dict[str, Any]:
        """``PUT /v1/people/{name}``: pictures with one face each."""
        with ExitStack() as opened:
            parts = [("files", opened.enter_context(_opened(file))["file"]) for file in files]
            return self._json("PUT", _person(name), files=parts)

    def rename_person(self, name: str, new: str) -> dict[str, Any]:
        """``PATCH /v1/people/{name}``."""
        return self._json("PATCH", _person(name), json={"name": new})

    def merge_people(self, name: str, other: str) -> dict[str, Any]:
        """``POST /v1/people/{name}/merge``: ``other`` becomes part of ``name``."""
        return self._json("POST", f"{_person(name)}/merge", json={"from": other})

    def unmerge_people(self, name: str, other: str) -> dict[str, Any]:
        """``POST /v1/people/{name}/unmerge``; gives ``other`` as it was."""
        return self._json("POST", f"{_person(name)}/unmerge", json={"from": other})

    def split_person(self, name: str, faces: Sequence[int], into: str) -> dict[str, Any]:
        """``POST /v1/people/{name}/split``; gives the person that got the faces."""
        return self._json("POST", f"{_person(name)}/split", json={"faces": list(faces), "into": into})

    def delete_person(self, name: str, erase: bool = False) -> None:
        """``DELETE /v1/people/{name}``."""
        self._send("DELETE", _person(name), params={"erase": erase})

    def export_person(self, name: str) -> bytes:
        """All that is kept of a person, as a zip."""
        return self._send("GET", f"{_person(name)}/export").content

    def search_faces(self, file: Path, owner: str, k: int) -> dict[str, Any]:
        """``POST /v1/search/faces``."""
        return self._post_file("/v1/search/faces", file, {"owner": owner, "k": str(k)})

    def recommendations(self, user: str, **options: Any) -> dict[str, Any]:
        """``GET /v1/users/{username}/recommendations``."""
        return self._json("GET", f"{_user(user)}/recommendations", params=_given(options))

    def starter(self, k: int) -> dict[str, Any]:
        """``GET /v1/starter``."""
        return self._json("GET", "/v1/starter", params={"k": k})

    def interests(self, user: str) -> dict[str, Any]:
        """``GET /v1/users/{username}/interests``."""
        return self._json("GET", f"{_user(user)}/interests")

    def put_interests(self, user: str, ids: Sequence[str]) -> dict[str, Any]:
        """``PUT /v1/users/{username}/interests``."""
        return self._json("PUT", f"{_user(user)}/interests", json={"ids": list(ids)})

    def _pages(self, path: str, **options: Any) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            page = self._json("GET", path, params=_given({**options, "limit": _PAGE, "cursor": cursor}))
            yield from page["items"]
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def _post_file(
        self, path: str, file: Path, fields: dict[str, str], params: dict[str, str] | None = None, **options: Any
    ) -> dict[str, Any]:
        with _opened(file) as part:
            return self._json("POST", path, files=part, data=fields, params=params or {}, **options)

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = self._send(method, path, **options)
        try:
            body: dict[str, Any] = response.json()
        except ValueError as error:
            raise Problem("unavailable", f"what answers at {self.url} is another service") from error
        return body

    def _events(self, method: str, path: str, **options: Any) -> Generator[tuple[str, dict[str, Any]], None, None]:
        """Events with their JSON; an ``error`` among them is raised. Closing it hangs up, which ends the work."""
        response = self._send(method, path, stream=True, headers={"Accept": "text/event-stream"}, **options)
        with closing(response):
            try:
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise ValueError("not a stream of events")
                for name, data in sse.parse(response.iter_bytes()):
                    body = json.loads(data)
                    if name == "error":
                        raise refusal(body)
                    yield name, body
            except httpx.TimeoutException as error:
                raise Problem("deadline", f"nothing more from {self.url}") from error
            except httpx.RequestError as error:
                raise self._broken_off() from error
            except (ValueError, KeyError, TypeError) as error:
                raise Problem("unavailable", f"what answers at {self.url} is another service") from error

    def _broken_off(self) -> Problem:
        return Problem("unavailable", f"{self.url} broke off in the middle of its answer", "try again")

    def _send(self, method: str, path: str, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Send; wait and try again while the service is starting or overloaded, a bounded number of times.

        The body of a ``stream`` is not read yet; whoever asked for it closes the response.
        """
        for attempt in range(_TRIES):
            try:
                response = self._http.send(self._http.build_request(method, path, **options), stream=stream)
                if not response.is_success:
                    response.read()
            except UnicodeEncodeError as error:
                raise Problem("bad_request", "a name or a text holds half a character") from error
            except httpx.TimeoutException as error:
                raise Problem("deadline", f"no answer from {self.url}") from error
            except httpx.RequestError as error:
                raise Problem("unavailable", f"no service at {self.url}: {error}", "start it with: make run") from error
            except OSError as error:  # httpx has its own errors, so this is the file's
                raise Problem("bad_request", f"cannot read the file: {error.strerror}") from error
            if attempt == _TRIES - 1 or not _momentary(response):
                break
            time.sleep(pause_s(response.headers.get("retry-after")))
        if response.is_success:
            return response
        raise _problem(response)


def _user(name: str) -> str:
    return f"/v1/users/{quote(name, safe='')}"


def _person(name: str) -> str:
    return f"/v1/people/{quote(name, safe='')}"


@contextmanager
def _opened(file: Path) -> Iterator[dict[str, Any]]:
    """The part of a form that carries ``file``; it is read piece by piece while it is sent."""
    # The name is only a label on the wire; the service looks at the content.
    name = file.name.encode("ascii", "replace").decode()
    try:
        stream = file.open("rb")
    except OSError as error:
        raise Problem("bad_request", f"cannot read {file}: {error.strerror}") from error
    with stream:
        yield {"file": (name, stream)}


def pause_s(retry_after: str | None) -> float:
    """Seconds to wait, 0 to 10, by ``Retry-After`` (a number or a date: RFC 9110, 10.2.3); 2 where it says nothing."""
    try:
        seconds = float(retry_after or 2)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(str(retry_after)) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 2.0
    return min(10.0, seconds) if seconds > 0 else 0.0


def _momentary(response: httpx.Response) -> bool:
    """Whether waiting may help: missing weights stay missing, a full queue does not stay full."""
    return response.status_code in (429, 503) and _problem(response).code != "unavailable"


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _problem(response: httpx.Response) -> Problem:
    try:
        return refusal(response.json())
    except (ValueError, KeyError, TypeError):
        return Problem("internal", f"the service answered {response.status_code}: {response.text[:200]}")


def refusal(body: dict[str, Any]) -> Problem:
    """A problem+json body as the error it tells of; KeyError or TypeError where it is none."""
    code = body["code"] if body["code"] in CODES else "internal"
    return Problem(code, body["detail"], body.get("remedy"))
