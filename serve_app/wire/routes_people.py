"""``/v1/people``: whom the service recognises; ``/v1/search/faces``: where a face is seen."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from serve_app.errors import Problem
from serve_app.wire.people_schemas import FaceHits, Other, PeoplePage, Person, Rename, Split
from serve_app.wire.ports import WHOLE_BYTES, PeoplePort
from serve_app.wire.routing import AtEnd, Behind, multipart_docs, problem_docs, reply
from serve_app.wire.uploads import read_upload, read_uploads

router = APIRouter(prefix="/v1", tags=["people"])

MAX_PICTURES = 50
"""Pictures that one request may send."""
MAX_K = 1000

_PICTURES = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    "required": ["files"],
                }
            }
        },
    }
}


async def port(behind: Behind) -> PeoplePort:
    if behind.people is None:
        raise Problem("unavailable", "this service recognises nobody")
    return behind.people


People = Annotated[PeoplePort, Depends(port)]


@router.get("/people", response_model=PeoplePage, responses=problem_docs(400))
async def list_people(people: People, limit: int = Query(50), cursor: str | None = None) -> Response:
    """Whom the service recognises, newest first."""
    return reply(await people.page(limit=limit, cursor=cursor))


@router.get("/people/{name:path}/export", response_class=Response, responses=problem_docs(404))
async def export_person(name: str, people: People) -> Response:
    """All that is kept of a person, as a zip: names, faces, vectors and where they were recognised."""
    headers = {"Content-Disposition": "attachment; filename=person.zip", "X-Content-Type-Options": "nosniff"}
    return Response(await people.export(name), media_type="application/zip", headers=headers)


@router.get("/people/{name:path}/faces/{face}", response_class=Response, responses=problem_docs(404))
async def get_face(name: str, face: int, people: People) -> Response:
    """A kept face, a JPEG."""
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
    return Response(await people.face(name, face), media_type="image/jpeg", headers=headers)


@router.post("/people/{name:path}/merge", response_model=Person, responses=problem_docs(400, 404))
async def merge_people(name: str, body: Other, people: People) -> Response:
    """Two names of one person: ``from`` becomes part of this one, also in assets. ``unmerge`` takes it back."""
    return reply(await people.merge(name, body.other))


@router.post("/people/{name:path}/unmerge", response_model=Person, responses=problem_docs(400, 404))
async def unmerge_people(name: str, body: Other, people: People) -> Response:
    """Take ``from`` out again, as it was; gives that person."""
    return reply(await people.unmerge(name, body.other))


@router.post("/people/{name:path}/split", response_model=Person, responses=problem_docs(400, 404, 409, 422))
async def split_person(name: str, body: Split, people: People) -> Response:
    """Faces that are somebody else's: move them. The same the other way takes it back. Gives the other person."""
    return reply(await people.split(name, body.faces, body.into))


@router.put(
    "/people/{name:path}",
    response_model=Person,
    responses={201: {"model": Person}, **problem_docs(400, 409, 413, 415, 422, 503)},
    openapi_extra=_PICTURES,
)
async def add_person(name: str, request: Request, behind: Behind, people: People, at_end: AtEnd) -> Response:
    """Learn a person from pictures with one face each, or learn more of one; 201 where the name is new."""
    uploads = await read_uploads(request, min(behind.max_upload_bytes, WHOLE_BYTES), at_end, MAX_PICTURES)
    person, created = await people.add(name, uploads)
    return reply(person, 201 if created else 200)


@router.get("/people/{name:path}", response_model=Person, responses=problem_docs(404))
async def get_person(name: str, people: People) -> Response:
    """A person, and the faces that are kept."""
    return reply(await people.get(name))


@router.patch("/people/{name:path}", response_model=Person, responses=problem_docs(400, 404, 409))
async def rename_person(name: str, body: Rename, people: People) -> Response:
    """Call a person otherwise, also in assets."""
    return reply(await people.rename(name, body.name))


@router.delete("/people/{name:path}", status_code=204, response_class=Response, responses=problem_docs(404))
async def delete_person(name: str, people: People, erase: bool = False) -> Response:
    """Forget a person's faces and vectors; with ``erase`` also what assets say of them."""
    await people.delete(name, erase)
    return Response(status_code=204)


@router.post(
    "/search/faces",
    tags=["search"],
    response_model=FaceHits,
    responses=problem_docs(400, 413, 415, 422, 503),
    openapi_extra=multipart_docs(("file", "owner"), owner="whose assets", k="at most this many, 1 to 1,000; 10"),
)
async def search_faces(request: Request, behind: Behind, people: People, at_end: AtEnd) -> Response:
    """One's own assets that show the face in a picture (the largest one), nearest first."""
    upload, fields = await read_upload(request, behind.max_upload_bytes, at_end)
    owner, k = fields.get("owner", ""), fields.get("k", "10")
    if not owner:
        raise Problem("bad_request", "the field owner is missing")
    if not k.isdecimal() or not 1 <= int(k[:9]) <= MAX_K:
        raise Problem("bad_request", f"k must be from 1 to {MAX_K}")
    return reply(await people.search(upload.data, owner, int(k)))
