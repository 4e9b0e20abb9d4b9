"""Every error leaves as RFC 9457 problem+json with a stable code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from serve_app.errors import CODES, Problem
from serve_app.wire.schemas import ProblemDetail

log = logging.getLogger("mediaverse")

RETRY_AFTER_S = 2
_UNEXPECTED = "the service failed on this request; its log says why"
_BY_STATUS = {status: code for code, status in reversed(CODES.items())}


def detail_of(error: Exception) -> ProblemDetail:
    """What a client may know of ``error``; what was not expected is logged and stays behind the door."""
    if not isinstance(error, Problem):
        log.error("an answer broke off", exc_info=error)
        error = Problem("internal", _UNEXPECTED)
    status = error.status
    return ProblemDetail(title=status.phrase, status=status, code=error.code, detail=error.detail, remedy=error.remedy)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """``problem`` as problem+json; refusals under load carry ``Retry-After``."""
    body, extra = detail_of(problem), dict(headers or {})
    if body.status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse(body.model_dump(exclude_none=True), body.status, extra, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Make ``app`` answer every exception as problem+json."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _unexpected)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = _BY_STATUS.get(status, "bad_request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "internal")
    return problem_response(Problem(code, str(error.detail)), error.headers)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
    return problem_response(Problem("bad_request", "; ".join(faults)[:2000]))


async def _left(request: Request, error: Exception) -> JSONResponse:
    # Nobody reads it; it is no fault of the service either, which the log would make of it otherwise.
    return problem_response(Problem("bad_request", "the client left before it had its answer"))


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem_response(Problem("internal", _UNEXPECTED))
