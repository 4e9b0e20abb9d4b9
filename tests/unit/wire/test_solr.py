"""A Solr document claims what annotators answered, and nothing of those that did not."""

from __future__ import annotations

from typing import Any

from serve_app.wire.schemas import AssetAnnotations, Label, TaskResult
from serve_app.wire.solr import solr_document


def annotations(kind: Any, **results: TaskResult) -> AssetAnnotations:
    return AssetAnnotations(id="anna/1", kind=kind, state="ready", results=results)


def ok(*labels: tuple[str, float], **fields: Any) -> TaskResult:
    return TaskResult(status="ok", labels=[Label(label=name, confidence=sure) for name, sure in labels], **fields)


def test_a_picture_has_the_fields_that_existing_nodes_index() -> None:
    document = solr_document(
        annotations(
            "image",
            captioning=ok(("a dog on a beach", 0.8)),
            meme_detection=ok(("meme", 0.93), is_meme=True, score=0.93),
            nsfw=ok(is_nsfw=False, score=0.1),
            action_recognition=ok(("surfing", 0.3), ("walking the dog", 0.6)),
            face_recognition=ok(("unknown", 0.99), ("Ada", 0.8), ("unknown", 0.9)),
            disturbing_content=ok(is_disturbing=False, score=0.2),
            object_detection=ok(("dog", 0.5), ("person", 0.7), ("dog", 0.9), ("person", 0.6)),
        )
    )
    assert document == {
        "id": "anna/1",
        "image_caption": "a dog on a beach",
        "image_is_meme": True,
        "image_meme_confidence": 0.93,
        "image_is_nsfw": False,
        "image_recognized_action": "walking the dog",
        "image_faces_identified": ["Ada"],
        "image_disturbing_content": False,
        "image_detected_objects": ["dog", "person"],
        "image_detected_persons": 3,
    }


def test_who_did_not_answer_claims_nothing() -> None:
    refused = TaskResult(status="unavailable", error="unavailable: no weights")
    assert solr_document(annotations("image", nsfw=refused, meme_detection=refused)) == {"id": "anna/1"}
    assert solr_document(annotations("text")) == {"id": "anna/1"}


def test_videos_and_meshes_have_their_own_fields() -> None:
    objects = ok(("cube", 0.5), ("cone", 0.9))
    disturbing = ok(("disturbing", 0.8), ("disturbing", 0.9), is_disturbing=True, score=0.9)
    video = annotations(
        "video", object_detection=objects, disturbing_content=disturbing, action_recognition=ok(("pan left", 0.7))
    )
    assert solr_document(video) == {
        "id": "anna/1",
        "video_recognized_actions": ["pan left"],
        "video_detected_objects": ["cone", "cube"],
        "video_disturbing_scenes_count": 2,
    }
    assert solr_document(annotations("shape3d", object_detection=objects)) == {
        "id": "anna/1",
        "3d_detected_objects": ["cone", "cube"],
    }
