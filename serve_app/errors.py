"""Errors a client may see: one table of stable codes, one exception that carries a code.

The code is the contract (RFC 9457 ``code``); HTTP and gRPC derive their status from the table. ``Problem`` crosses
process borders, so it keeps nothing but its constructor's arguments.
"""

from __future__ import annotations

from http import HTTPStatus

CODES: dict[str, HTTPStatus] = {
    "bad_request": HTTPStatus.BAD_REQUEST,
    "url_input_disabled": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "conflict": HTTPStatus.CONFLICT,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unsupported_media": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "undecodable_media": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unprocessable": HTTPStatus.UNPROCESSABLE_ENTITY,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "deadline": HTTPStatus.GATEWAY_TIMEOUT,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
}


class Problem(Exception):
    """An error with a stable ``code`` out of :data:`CODES` and a sentence for people in ``detail``.

    ``remedy`` names what the caller or the operator can do about it, where there is something.
    """

    def __init__(self, code: str, detail: str, remedy: str | None = None) -> None:
        if code not in CODES:
            raise ValueError(f"unknown error code {code!r}")
        super().__init__(code, detail, remedy)
        self.code = code
        self.detail = detail
        self.remedy = remedy

    @property
    def status(self) -> HTTPStatus:
        return CODES[self.code]

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" + (f" ({self.remedy})" if self.remedy else "")
