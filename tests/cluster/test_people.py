"""People, memes and printed words through a real service."""

from __future__ import annotations

import base64
import importlib.resources
import io
import time
import uuid

import numpy as np
import pytest
from PIL import Image

from serve_app.models.memes.world import draw

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

WITHIN_S = 60
SEED = 77  # of pictures that no training drew


def photograph(**crop):
    """scikit-image's portrait of Eileen Collins, cropped."""
    with importlib.resources.as_file(importlib.resources.files("skimage") / "data" / "astronaut.png") as file:
        return encoded(Image.open(file).crop(crop["box"]) if crop else Image.open(file))


def encoded(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def people_in(http, asset):
    found = http.get(f"/v1/assets/{asset}/annotations").json()["results"].get("face_recognition", {"labels": []})
    return [label["label"] for label in found["labels"]]


def until(condition):
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)


def test_a_person_is_learnt_recognised_in_stored_pictures_and_erased(http):
    name, owner = f"Eileen {uuid.uuid4().hex[:6]}", f"o-{uuid.uuid4().hex[:8]}"
    data = {"owner": owner}
    asset = http.post("/v1/assets", files={"file": photograph()}, data=data).json()["id"]
    until(lambda: people_in(http, asset) == ["unknown"])
    added = http.put(f"/v1/people/{name}", files=[("files", ("a.png", photograph(box=(100, 0, 400, 300))))])
    assert added.status_code == 201, added.text
    until(lambda: people_in(http, asset) == [name])
    listed = http.get("/v1/assets", params={"filter": f'person:"{name}" owner:{owner}'}).json()["items"]
    assert [each["id"] for each in listed] == [asset]
    hits = http.post("/v1/search/faces", files={"file": photograph(box=(60, 0, 460, 400))}, data=data).json()["items"]
    assert [(hit["asset_id"], hit["same"]) for hit in hits] == [(asset, True)]
    solr = http.get(f"/v1/assets/{asset}/annotations", params={"format": "solr"}).json()
    assert (solr["image_faces_identified"], solr["image_detected_persons"]) == ([name], 1)
    assert http.delete(f"/v1/people/{name}", params={"erase": "true"}).status_code == 204
    assert people_in(http, asset) == ["unknown"]
    assert http.get(f"/v1/people/{name}").status_code == 404


def test_a_picture_without_a_face_teaches_nobody(http):
    answer = http.put("/v1/people/Nobody", files=[("files", ("wall.png", encoded(Image.new("RGB", (200, 200)))))])
    assert (answer.status_code, answer.json()["code"]) == (422, "unprocessable")
    assert "wall.png" in answer.json()["detail"]
    assert http.get("/v1/people/Nobody").status_code == 404


def test_a_meme_is_told_and_explained_and_its_words_are_found(http):
    caption = Image.fromarray(draw("memes", SEED, 1)[0])
    answer = http.post(
        "/v1/annotate/image?annotators=memes,texts&explain=true", files={"file": encoded(caption)}
    ).json()["results"]
    assert answer["meme_detection"]["is_meme"]
    overlay = Image.open(io.BytesIO(base64.b64decode(answer["meme_detection"]["explanation"])))
    assert (overlay.format, overlay.size) == ("PNG", caption.size)
    assert np.abs(np.asarray(overlay.convert("RGB"), int) - np.asarray(caption, int)).max() > 50
    plain = Image.fromarray(draw("without-text", SEED, 1)[0])
    answer = http.post("/v1/annotate/image?annotators=memes,texts", files={"file": encoded(plain)}).json()["results"]
    assert not answer["meme_detection"]["is_meme"]
    assert answer["text_recognition"]["status"] == "ok"
