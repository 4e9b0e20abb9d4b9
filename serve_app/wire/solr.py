"""Annotations as the fields of a Solr document, under the names that existing nodes index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serve_app.wire.schemas import AssetAnnotations, TaskResult

UNKNOWN = "unknown"

Fields = dict[str, Any]


def solr_document(found: AssetAnnotations) -> Fields:
    """``id`` and a field for every annotator that answered; one that did not has none, so that nothing is claimed.

    Of a label that was seen more than once the surest counts. ``image_detected_persons`` is a number: of the persons
    that the object detector saw, or of the faces where there are more.
    """
    answered = {task: result for task, result in found.results.items() if result.status == "ok"}
    fields = {"image": _image, "video": _video, "shape3d": _shape}.get(found.kind, lambda _: {})(answered)
    return {"id": found.id} | fields


def _image(results: Mapping[str, TaskResult]) -> Fields:
    fields: Fields = {}
    if captions := results.get("captioning"):
        fields["image_caption"] = captions.labels[0].label if captions.labels else None
    if memes := results.get("meme_detection"):
        fields |= {"image_is_meme": memes.is_meme, "image_meme_confidence": memes.score}
    if nsfw := results.get("nsfw"):
        fields["image_is_nsfw"] = nsfw.is_nsfw
    if actions := results.get("action_recognition"):
        fields["image_recognized_action"] = next(iter(_names(actions)), None)
    if faces := results.get("face_recognition"):
        fields["image_faces_identified"] = [name for name in _names(faces) if name != UNKNOWN]
    if concerns := results.get("disturbing_content"):
        fields["image_disturbing_content"] = concerns.is_disturbing
    if objects := results.get("object_detection"):
        fields["image_detected_objects"] = _names(objects)
    persons = [label for label in objects.labels if label.label == "person"] if objects else []
    if objects or faces:
        fields["image_detected_persons"] = max(len(persons), len(faces.labels) if faces else 0)
    return fields


def _video(results: Mapping[str, TaskResult]) -> Fields:
    fields: Fields = {}
    if actions := results.get("action_recognition"):
        fields["video_recognized_actions"] = _names(actions)
    if objects := results.get("object_detection"):
        fields["video_detected_objects"] = _names(objects)
    if concerns := results.get("disturbing_content"):
        fields["video_disturbing_scenes_count"] = len(concerns.labels)
    return fields


def _shape(results: Mapping[str, TaskResult]) -> Fields:
    objects = results.get("object_detection")
    return {"3d_detected_objects": _names(objects)} if objects else {}


def _names(result: TaskResult) -> list[str]:
    """Each label once, the surest first."""
    return list(dict.fromkeys(each.label for each in sorted(result.labels, key=lambda label: -label.confidence)))
