"""What is served beside the page: moments' videos, pictures and tokens by their numbers, and answers as JSON.

No path comes from a request: a number is looked up in the index, and its file is served as long as it is the one that
was indexed.
"""

from mimetypes import guess_type
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retrieval.errors import UserError
from retrieval.search.asking import filters_of
from retrieval.search.moments import Moment
from retrieval.search.page.desk import Desk
from retrieval.search.questions import LONGEST, Reply
from retrieval.search.writing import facts

KINDS = {".mkv": "video/x-matroska", ".m4v": "video/mp4", ".mts": "video/mp2t", ".m2ts": "video/mp2t"}
"""Of files whose kind Python does not know, or not as browsers do."""
KEPT = {"Cache-Control": "private, max-age=3600"}


class Asked(BaseModel):
    """A question by the names of `conf/search.yaml`; `like` is a moment's number."""

    model_config = ConfigDict(extra="forbid")

    query: str = ""
    like: int | None = None
    top: int = 10
    path: str | None = Field(None, max_length=LONGEST)
    after: str | None = None
    before: str | None = None
    min_score: float | None = None


def reply_to(desk: Desk, asked: Asked) -> Reply:
    """What the desk answers.

    Raises:
        UserError: a question that cannot be answered.
    """
    filters = filters_of(asked.path, asked.after, asked.before, asked.min_score)
    if asked.like is not None:
        return desk.more_like(asked.like, asked.top, filters)
    return desk.ask(asked.query, asked.top, filters)


def add_routes(app: FastAPI, desk: Desk) -> None:
    """Serve a desk's answers and moments."""
    router = APIRouter()

    @router.get("/api/search")
    def by_address(request: Request) -> dict[str, Any]:
        return _as_json(reply_to(desk, Asked.model_validate(dict(request.query_params))))

    @router.post("/api/search")
    def by_body(asked: Asked) -> dict[str, Any]:
        return _as_json(reply_to(desk, asked))

    @router.api_route("/media/{number}/video", methods=["GET", "HEAD"])
    def video(number: int) -> Response:
        moment = desk.moment(number)
        if not _is_as_indexed(moment):
            return JSONResponse({"error": "the file is gone or has changed since it was indexed"}, 410)
        path = Path(moment.path)
        kind = KINDS.get(path.suffix.lower()) or guess_type(path.name)[0] or ""
        return FileResponse(path, media_type=kind if kind.startswith("video/") else "application/octet-stream")

    @router.get("/media/{number}/picture")
    def picture(number: int) -> Response:
        return Response(desk.picture(number), media_type="image/jpeg", headers=KEPT)

    @router.get("/media/{number}/tokens")
    def tokens(number: int) -> Response:
        if not _is_as_indexed(desk.moment(number)):
            return JSONResponse({"error": "the file is gone or has changed since it was indexed"}, 410)
        drawn = desk.tokens(number)
        return Response(status_code=204) if drawn is None else Response(drawn, media_type="image/png", headers=KEPT)

    @app.exception_handler(UserError)
    def refuse(request: Request, error: UserError) -> Response:
        is_missing = request.url.path.startswith("/media/")
        return JSONResponse({"error": str(error)}, 404 if is_missing else 400)

    @app.exception_handler(ValidationError)
    @app.exception_handler(RequestValidationError)
    def explain(request: Request, error: ValidationError | RequestValidationError) -> Response:
        return JSONResponse({"error": invalid(error)}, 400)

    app.include_router(router)


def invalid(error: ValidationError | RequestValidationError) -> str:
    """Which values of a question cannot be, in one line."""
    return "; ".join(f"{each['loc'][-1] if each['loc'] else 'question'}: {each['msg']}" for each in error.errors())


def _as_json(reply: Reply) -> dict[str, Any]:
    """A reply as `format=json` prints it, with the numbers that other routes know the moments by."""
    answers = [facts(answer) | {"number": answer.moments[0].number} for answer in reply.answers]
    return {"query": reply.question, "answers": answers, "notes": reply.notes}


def _is_as_indexed(moment: Moment) -> bool:
    try:
        status = Path(moment.path).stat()
    except OSError:
        return False
    return status.st_size == moment.file_size and abs(status.st_mtime - moment.modified) < 1
