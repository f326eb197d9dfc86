"""The part of W&B's API that the test server lacks, in front of it: counts runs, keeps workspaces and reports."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

EMPTY = {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}


class ViewServer(ThreadingHTTPServer):
    """Answers what `retrieval.dashboard` asks in W&B's schema; how many runs there are it asks the server behind it.

    Attributes:
        views: what was saved.
    """

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = behind
        self.views: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL reply."""
        if "upsertView" in query:
            self.views.append(variables)
            project = {"id": "1", "name": variables["projectName"], "entityName": variables["entityName"]}
            return {"upsertView": {"view": variables | {"id": "view", "project": project}, "inserted": True}}
        if "query Runs(" in query:
            return {"project": self._project(variables)}
        if "ProjectInternalId" in query:
            return {"project": {"id": "1", "internalId": "1"}}
        if "query Viewer" in query or "GetDefaultEntity" in query:
            return {"viewer": {"id": "1", "entity": "default", "username": "admin", "teams": {"edges": []}}}
        return {"models": EMPTY, "upsertModel": {"project": {"id": "1"}}}

    def _project(self, variables: dict[str, Any]) -> dict[str, Any] | None:
        path = f"{self.behind}/api/v2/projects/{variables['entity']}/{variables['project']}/runs"
        runs = requests.get(path, timeout=30).json()["runs"]
        if not runs:
            return None
        count = 0 if "group" in json.loads(variables.get("filters") or "{}") else len(runs)  # it keeps no groups
        return {"internalId": "1", "runCount": count, "readOnly": False, "runs": EMPTY}


class Handler(BaseHTTPRequestHandler):
    server: ViewServer

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/graphql":  # what the client tells of itself
            self.send_error(404)
            return
        body = json.loads(sent)
        content = json.dumps({"data": self.server.answer(body["query"], body.get("variables") or {})}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests' output is not the place."""
