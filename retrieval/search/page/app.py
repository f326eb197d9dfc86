"""The server: the page, its routes and its guard in one application, and the socket that it listens on."""

import socket
from contextlib import closing
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI
from omegaconf import DictConfig
from starlette.types import ASGIApp

from retrieval.errors import UserError
from retrieval.jobs.announcing import tell
from retrieval.search.index import Index
from retrieval.search.page.desk import Desk
from retrieval.search.page.guard import LONGEST_ADDRESS, LOOPBACK, Guard
from retrieval.search.page.layout import FOLDER, build_page, theme
from retrieval.search.page.routes import add_routes


def run_serve(config: DictConfig) -> None:
    """From the job's config to a server, until it is told to stop."""
    with closing(listening(config.host, config.port)) as listener:  # before the model is loaded, which takes its time
        app = build_app(Desk(Index.open(config.index)), str(config.index), config.host)
        host, port = listener.getsockname()[:2]
        tell(f"http://{f'[{host}]' if ':' in host else host}:{port}/  (Ctrl+C ends it)")
        server(app).run(sockets=[listener])


def build_app(desk: Desk, name: str, host: str) -> ASGIApp:
    """The application.

    Args:
        desk: what answers.
        name: of the index, for the page.
        host: address that is listened on; one of this machine's own is not called by other names.
    """
    import gradio as gr

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_routes(app, desk)
    css = (FOLDER / "page.css").read_text(encoding="utf-8")
    page = build_page(desk, name)
    gr.mount_gradio_app(
        app, page, path="/", theme=theme(), css=css, footer_links=[], run_history=False, ssr_mode=False,
        show_error=False, enable_monitoring=False, mcp_server=False, pwa=False,
    )  # fmt: skip
    return Guard(app, LOOPBACK if _is_loopback(host) else ())


def server(app: ASGIApp) -> uvicorn.Server:
    """A server that reads requests by the same rules whatever else is installed."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            log_level="warning",
            h11_max_incomplete_event_size=2 * LONGEST_ADDRESS,
            timeout_graceful_shutdown=2,
        )
    )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UserError: an address that is not this machine's, or a port that is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"host={host} port={port}: cannot be listened on ({reason}); port=0 takes a free one"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
