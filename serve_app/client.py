"""A client of the HTTP service, for the command line: patient with a busy service, clear about a refusal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from serve_app.errors import CODES, Problem

_TRIES = 6


class Client:
    """Calls one service. Every method raises ``Problem`` for what the service refuses or when it is not there."""

    def __init__(self, url: str, timeout_s: float = 120.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s)

    def annotate(self, file: Path, annotators: str | None = None) -> dict[str, Any]:
        """``POST /v1/annotate/image``."""
        params = {"annotators": annotators} if annotators else {}
        return self._post_file("/v1/annotate/image", file, {}, params=params)

    def search_text(self, text: str, **options: Any) -> dict[str, Any]:
        """``POST /v1/search`` by text."""
        return self._json("POST", "/v1/search", json={"text": text} | _given(options))

    def search_file(self, file: Path, **options: Any) -> dict[str, Any]:
        """``POST /v1/search`` by picture."""
        return self._post_file("/v1/search", file, {name: str(value) for name, value in _given(options).items()})

    def add(self, file: Path, owner: str, id: str) -> dict[str, Any]:
        """``POST /v1/assets``."""
        return self._post_file("/v1/assets", file, {"owner": owner, "id": id})

    def asset(self, id: str) -> dict[str, Any]:
        """``GET /v1/assets/{id}``."""
        return self._json("GET", f"/v1/assets/{quote(id)}")

    def assets(self, owner: str) -> Iterator[dict[str, Any]]:
        """Every asset of an owner, newest first."""
        cursor: str | None = None
        while True:
            page = self._json("GET", "/v1/assets", params=_given({"owner": owner, "limit": 500, "cursor": cursor}))
            yield from page["items"]
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def delete(self, id: str) -> None:
        """``DELETE /v1/assets/{id}``."""
        self._send("DELETE", f"/v1/assets/{quote(id)}")

    def _post_file(
        self, path: str, file: Path, fields: dict[str, str], params: dict[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise Problem("bad_request", f"cannot read {file}: {error.strerror}") from error
        # The name is only a label on the wire; the service looks at the content.
        name = file.name.encode("ascii", "replace").decode()
        return self._json("POST", path, files={"file": (name, data)}, data=fields, params=params or {})

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        body: dict[str, Any] = self._send(method, path, **options).json()
        return body

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send; wait and try again while the service is starting or overloaded, a bounded number of times."""
        for attempt in range(_TRIES):
            try:
                response = self._http.request(method, path, **options)
            except httpx.TimeoutException as error:
                raise Problem("deadline", f"no answer from {self.url}") from error
            except httpx.TransportError as error:
                raise Problem("unavailable", f"no service at {self.url}: {error}", "start it with: make run") from error
            if response.status_code != 503 or attempt == _TRIES - 1:
                break
            time.sleep(min(10.0, float(response.headers.get("retry-after") or 2)))
        if response.is_success:
            return response
        raise _problem(response)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _problem(response: httpx.Response) -> Problem:
    try:
        body = response.json()
        code = body["code"] if body["code"] in CODES else "internal"
        return Problem(code, body["detail"], body.get("remedy"))
    except (ValueError, KeyError, TypeError):
        return Problem("internal", f"the service answered {response.status_code}: {response.text[:200]}")
