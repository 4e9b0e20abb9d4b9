"""The filter language: ``object:person -meme kind:image owner:anna action:"playing tennis">0.5``.

A filter is a list of terms that must all hold. A term is a tag, or a tag and a value, or either with ``>`` and a
confidence; ``-`` in front negates it. Values are compared without case; ``caption`` and ``text`` hold where the value
stands anywhere in them; ``kind`` and ``owner`` are the asset's own. ``model:birds`` is any answer of the model that a
user built under that name, ``model:birds:sparrow`` that one. ``created>2026-01-01`` holds for what was added after
the start of that day, ``created<2026-02-01T12:00:00Z`` for what was added before that time: neither holds at the very
moment. A date is its day's start; what says no zone is in UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, and_, func, not_, select, true

from serve_app.catalog.checks import clean, fold
from serve_app.catalog.rows import KINDS
from serve_app.catalog.schema import assets, tags
from serve_app.errors import Problem

MAX_CHARACTERS = 1000
MAX_TERMS = 32
PREFIX = 200
FEW = 5000
"""Tags that are counted, or gathered, in a few milliseconds."""
COLUMNS = ("kind", "owner")
LABELS = ("object", "action", "person", "meme", "disturbing", "nsfw")
SENTENCES = ("caption", "text")
CREATED = "created"

_NAME = re.compile(r"[A-Za-z_]+")
_WORD = re.compile(r'[^\s">]+')
_PART = re.compile(r'[^\s":>]+')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_NUMBER = re.compile(r"[0-9]*\.?[0-9]+")


@dataclass(frozen=True)
class Term:
    """One condition: tag ``name``, its ``value`` (None: any), a confidence it must be ``above`` (None: any).

    The term ``created`` has one of ``after`` and ``before`` instead, POSIX seconds that are themselves left out.
    """

    name: str
    value: str | None = None
    above: float | None = None
    negated: bool = False
    after: float | None = None
    before: float | None = None

    @property
    def is_sentence(self) -> bool:
        """Whether it is on captions or printed text, which only the catalog knows: see ``Words.assets_with``."""
        return self.name in SENTENCES

    @property
    def created(self) -> tuple[float | None, float | None] | None:
        """For the term ``created``, after and before when, exclusively, in POSIX seconds (None: whenever)."""
        return (self.after, self.before) if self.name == CREATED else None

    def condition(self, one_by_one: bool) -> ColumnElement[bool]:
        """The condition on ``assets``: that they are among those tagged, or ``one_by_one`` that each has the tag.

        What the client wrote becomes bound parameters, never SQL.
        """
        if self.name in COLUMNS:
            found: ColumnElement[bool] = assets.c[self.name] == self.value
        elif self.name == CREATED:
            found = and_(true(), *self._bounds())
        elif one_by_one:
            found = select(tags.c.id).where(tags.c.asset_id == assets.c.id, *self.tagged()).exists()
        else:
            found = assets.c.id.in_(select(tags.c.asset_id).where(*self.tagged()))
        return not_(found) if self.negated else found

    def count(self, connection: Connection) -> int:
        """How many tags the index has for it, at most ``FEW`` + 1; so many too where the index cannot tell."""
        if self.negated or self.name in (*COLUMNS, CREATED) or (self.name in SENTENCES and self.value is not None):
            return FEW + 1
        tagged = select(tags.c.name).where(*self.indexed()).limit(FEW + 1).subquery()
        return connection.execute(select(func.count()).select_from(tagged)).scalar_one()

    def _bounds(self) -> list[ColumnElement[bool]]:
        bounds = []
        if self.after is not None:
            bounds.append(assets.c.created_at > datetime.fromtimestamp(self.after, UTC))
        if self.before is not None:
            bounds.append(assets.c.created_at < datetime.fromtimestamp(self.before, UTC))
        return bounds

    def tagged(self) -> list[ColumnElement[bool]]:
        """The conditions on ``tags``, whether the term is negated or not."""
        if self.value is None:
            return self.indexed()
        folded = fold(self.value)
        if self.name in SENTENCES:
            return [*self.indexed(), tags.c.folded.contains(folded, autoescape=True)]
        return [*self.indexed(), tags.c.folded == folded]

    def indexed(self) -> list[ColumnElement[bool]]:
        """What the index alone can tell: all but values longer than a prefix, and words inside of sentences."""
        conditions: list[ColumnElement[bool]] = [tags.c.name == self.name]
        if self.value is not None and self.name not in SENTENCES:
            conditions.append(tags.c.prefix == fold(self.value)[:PREFIX])
        if self.above is not None:
            conditions.append(tags.c.confidence > self.above)
        return conditions


@dataclass(frozen=True)
class Filter:
    """Terms that must all hold; no terms hold for everything."""

    terms: tuple[Term, ...] = ()

    def condition(self) -> ColumnElement[bool]:
        """For assets that a query has already found: each is looked at, however many others fit."""
        return and_(true(), *(term.condition(one_by_one=True) for term in self.terms))

    def first_page(self, connection: Connection) -> ColumnElement[bool]:
        """The same for the first few that fit, in whatever order.

        Begins with the few that the rarest term names, or else looks at one asset after the other until enough fit: so
        neither a rare nor a common label has to gather everything.
        """
        counted = {term: term.count(connection) for term in self.terms}
        rarest = min(self.terms, key=counted.__getitem__, default=None)
        if rarest and counted[rarest] > FEW:
            rarest = None
        return and_(true(), *(term.condition(one_by_one=term is not rarest) for term in self.terms))


def parse_filter(text: str) -> Filter:
    """Read a filter of at most 1000 characters and 32 terms.

    Raises Problem("bad_request") that names the character where reading failed.
    """
    if len(text) > MAX_CHARACTERS:
        raise Problem("bad_request", f"filter has {len(text)} characters, the limit is {MAX_CHARACTERS}")
    if clean(text) != text:
        raise Problem("bad_request", "filter holds a null byte or half a character")
    reader = _Reader(text)
    terms: list[Term] = []
    while reader.skip_space():
        if len(terms) == MAX_TERMS:
            raise reader.problem(f"more than {MAX_TERMS} terms")
        terms.append(reader.term())
    return Filter(tuple(terms))


class _Reader:
    """A position in the text of a filter, moved on by what is read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def problem(self, what: str, at: int | None = None) -> Problem:
        return Problem("bad_request", f"filter, character {(self.at if at is None else at) + 1}: {what}")

    def skip_space(self) -> bool:
        """Move to the next term; False at the end."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at < len(self.text)

    def take(self, literal: str) -> bool:
        found = self.text.startswith(literal, self.at)
        self.at += len(literal) if found else 0
        return found

    def match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found[found.lastindex or 0]

    def term(self) -> Term:
        negated = self.take("-")
        start = self.at
        name = (self.match(_NAME) or "").lower()
        if name not in (*COLUMNS, *LABELS, *SENTENCES, CREATED, "model"):
            raise self.problem(_unknown(name or self.text[start : start + 20]), start)
        if name == CREATED:
            return self.ended(self.created(negated))
        if name == "model":
            if not self.take(":"):
                raise self.problem("model needs a name, as in model:birds")
            name = f"model:{self.value(_PART)}"
            value = self.value(_PART) if self.take(":") else None
        else:
            value = self.value(_WORD) if self.take(":") else None
        above = self.confidence(name) if self.take(">") else None
        return self.checked(self.ended(Term(name, value, above, negated)), start)

    def ended(self, term: Term) -> Term:
        if self.at < len(self.text) and not self.text[self.at].isspace():
            raise self.problem(f"unexpected {self.text[self.at]!r}; values with spaces stand in double quotes")
        return term

    def created(self, negated: bool) -> Term:
        after = self.take(">")
        if not after and not self.take("<"):
            raise self.problem("created needs > or < and a date, as in created>2026-01-31")
        start = self.at
        written = self.match(_TIME)
        try:
            time = datetime.fromisoformat(written or "")
            seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
        except (ValueError, OverflowError) as error:
            how = "a date as in 2026-01-31, or a time as in 2026-01-31T12:00:00Z, must follow"
            raise self.problem(how, start) from error
        return Term(CREATED, None, None, negated, *((seconds, None) if after else (None, seconds)))

    def value(self, bare: re.Pattern[str]) -> str:
        if self.text.startswith('"', self.at):
            quoted = self.match(_QUOTED)
            if quoted is None:
                raise self.problem("a double quote that is never closed")
            value: str | None = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        else:
            value = self.match(bare)
        if not value:
            raise self.problem("a value is missing")
        return value

    def confidence(self, name: str) -> float:
        if name in COLUMNS:
            raise self.problem(f"{name} has no confidence")
        start = self.at
        number = self.match(_NUMBER)
        if number is None or float(number) > 1:
            raise self.problem("a confidence between 0 and 1 must follow >", start)
        return float(number)

    def checked(self, term: Term, start: int) -> Term:
        if term.name in COLUMNS and term.value is None:
            raise self.problem(f"{term.name} needs a value, as in {term.name}:...", start)
        if term.name == "kind" and term.value not in KINDS:
            raise self.problem(f"kind is one of {', '.join(KINDS)}", start)
        return term


def _unknown(word: str) -> str:
    known = ", ".join((*LABELS, *SENTENCES, *COLUMNS, CREATED))
    return f"no tag is called {word!r}; there are {known} and model:<name> (a label is written as object:dog)"
