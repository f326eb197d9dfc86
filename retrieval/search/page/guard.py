"""What the server refuses before anybody reads it: large bodies, foreign host names, and all that the page needs not.

Gradio brings routes that open files, take uploads and fetch addresses. The page uses none of them, so only those that
it does use are let through.
"""

import json
import re
from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 2**20
"""Bytes of a request's body; a question has a few hundred."""
LONGEST_ADDRESS = 2**14
"""Bytes of a request's first line."""
READ_OVER = 2**26
"""Bytes of a larger one that are read and forgotten, so that its sender is still there to hear the refusal."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
OURS = re.compile(r"/(api/search|media/\d+/(video|picture|tokens))")
GRADIOS = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/(static|assets|svelte)/[\w./-]+"
    r"|/gradio_api/(queue/join|queue/data|heartbeat/\w+|startup-events|info|reset|cancel)/?"
)
EVENT = "/gradio_api/queue/join"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""A browser loads nothing from elsewhere, and shows nothing of it elsewhere."""


class Guard:
    """An ASGI application around another.

    Args:
        app: what answers.
        hosts: names by which it may be called, without ports; none: any. A page elsewhere that has its own name point
            here (DNS rebinding) would otherwise read the answers.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        refused = self._refused(scope)
        body, is_whole = await _read(receive) if scope["method"] not in ("GET", "HEAD") else ([], True)
        if not refused and not is_whole:
            refused = JSONResponse({"error": f"a request has at most {LARGEST:,} bytes"}, 413)
        if not refused and scope["path"].startswith(EVENT) and not _is_plain(body):
            refused = JSONResponse({"error": "the page asks with words and numbers alone"}, 400)
        await (refused or self.app)(scope, _replayed(body, receive), _with_headers(send))

    def _refused(self, scope: Scope) -> JSONResponse | None:
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if self.hosts and re.sub(r":\d+$", "", host) not in self.hosts:
            return JSONResponse({"error": "this server is not called by that name"}, 400)
        if not OURS.fullmatch(scope["path"]) and not GRADIOS.fullmatch(scope["path"]):
            return JSONResponse({"error": "there is no such page"}, 404)
        if len(scope["query_string"]) > LONGEST_ADDRESS:
            return JSONResponse({"error": f"an address has at most {LONGEST_ADDRESS:,} bytes: post the question"}, 414)
        return None


async def _read(receive: Receive) -> tuple[list[Message], bool]:
    """The messages of a request's body, and whether they are all; a body that is too large is not kept."""
    messages: list[Message] = []
    size = 0
    while size <= READ_OVER:
        message = await receive()
        size += len(message.get("body", b""))
        if size <= LARGEST:
            messages.append(message)
        if not message.get("more_body", False):
            break
    return messages, size <= LARGEST


def _is_plain(messages: list[Message]) -> bool:
    """Whether an event of Gradio's brings words and numbers alone: an address of a file Gradio would download."""
    try:
        event = json.loads(b"".join(message.get("body", b"") for message in messages))
    except (ValueError, RecursionError):
        return False
    values = event.get("data") if isinstance(event, dict) else None
    return isinstance(values, list) and not any(isinstance(value, dict | list) for value in values)


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    left = iter(messages)

    async def replay() -> Message:
        return next(left, None) or await receive()

    return replay


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return send_with_headers
