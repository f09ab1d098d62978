"""The fingerprint of a request to an `@idempotent` view, whatever its body is."""

import hashlib
import json
from decimal import Decimal
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import load_handler
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser
from django.utils.datastructures import MultiValueDict

from idempotency.http.bodies import FORM, JSON
from idempotency.support.fingerprints import text_of

MULTIPART = "multipart/form-data"


def fingerprint_of(request: HttpRequest) -> str:
    """Return the fingerprint of method, path, query and body.

    The fields of JSON and of a form count by their values, files by their hash, and any other body
    by its bytes.

    Raises: what Django raises for a body that it cannot read.
    """
    parts = {
        "method": request.method,
        "path": request.path_info,
        "query": request.META.get("QUERY_STRING", ""),
        "body": _body_of(request),
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _body_of(request: HttpRequest) -> Any:
    if request.content_type == MULTIPART:
        fields, files = _parts_of(request)
        hashes = {name: list(map(_of_file, group)) for name, group in files.lists()}
        return {"fields": dict(fields.lists()), "files": hashes}
    body = request.body
    if request.content_type == FORM:
        return {"fields": dict(QueryDict(body, encoding=request.encoding).lists())}
    if request.content_type == JSON:
        try:
            return {"json": text_of(json.loads(body, parse_float=Decimal))}
        except (ValueError, ArithmeticError, RecursionError):
            pass  # whatever it is, it is the view's to refuse
    return {"bytes": hashlib.sha256(body).hexdigest(), "type": request.content_type}


def _parts_of(request: HttpRequest) -> tuple[QueryDict, MultiValueDict[str, UploadedFile]]:
    """Return fields and files, not the bytes: each sending has a boundary of its own.

    Of a POST Django reads them as a stream, so that files may be larger than what is held in
    memory. Of another method it leaves that to the view, so they are parsed here besides.
    """
    if request.method == "POST":
        return request.POST, request.FILES
    handlers = [load_handler(path, request) for path in settings.FILE_UPLOAD_HANDLERS]
    return MultiPartParser(request.META, BytesIO(request.body), handlers, request.encoding).parse()


def _of_file(file: UploadedFile) -> list[str | None]:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return [file.name, file.content_type, digest.hexdigest()]
