"""What may enter the catalog as an id, an owner, a text or a limit; everything else is a Problem."""

from __future__ import annotations

import re
import unicodedata

from serve_app.errors import Problem

MAX_ID_BYTES = 512
MAX_ERROR_CHARACTERS = 4000
MAX_PAGE = 1000
_PART = re.compile(r"/(annotations|renditions|files/[^/]*)$")


def validate_id(value: str, what: str = "id") -> str:
    """Return ``value`` if it may name an asset or an owner: any unicode of 1 to 512 bytes without control characters.

    Raises Problem("bad_request") otherwise.
    """
    if not value:
        raise Problem("bad_request", f"{what} is empty")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise Problem("bad_request", f"{what} holds a control character or half a character")
    if len(value.encode()) > MAX_ID_BYTES:
        raise Problem("bad_request", f"{what} is longer than {MAX_ID_BYTES} bytes in UTF-8")
    return value


def validate_asset_id(value: str) -> str:
    """Return ``value`` if it may name an asset and be reached by its address; Problem("bad_request") otherwise.

    Clients resolve ``.`` and ``..`` before they send, and the address of an asset's parts starts with the asset's own.
    """
    validate_id(value)
    if any(part in (".", "..") for part in value.split("/")) or _PART.search(value):
        raise Problem("bad_request", "an id has no part . or .., and does not end like the address of an asset's part")
    return value


def validate_text(value: str, what: str) -> str:
    """Return ``value`` if both databases can keep it; null bytes and lone surrogates are Problem("bad_request")."""
    if clean(value) != value:
        raise Problem("bad_request", f"{what} holds a null byte or half a character")
    return value


def validate_limit(limit: int) -> int:
    """Return ``limit`` if a page may have so many items (1 to 1000), else raise Problem("bad_request")."""
    if not 1 <= limit <= MAX_PAGE:
        raise Problem("bad_request", f"limit is {limit}, but a page has 1 to {MAX_PAGE} items")
    return limit


def clean(text: str) -> str:
    """Put U+FFFD in place of what Postgres refuses, in text that comes from models and from error messages."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def clean_error(text: str | None) -> str | None:
    """An error message as it is kept: storable, and its end when it is long (tools say the cause last)."""
    return None if text is None else clean(text)[-MAX_ERROR_CHARACTERS:]


def fold(text: str) -> str:
    """The form in which values are compared: compatibility-normalised and without case (Unicode UAX 15, 3.13)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
