"""Answers with the requests of each pod, one a line."""

import json

import wit_world
from componentize_py_types import Err
from wit_world.imports.types import Request, Response


class WitWorld(wit_world.WitWorld):
    def validate(self, config: str) -> None:
        """What is wrong is raised as `Err(text)`, and is what the user reads."""
        unknown = set(json.loads(config)) - {"at_least"}
        if unknown:
            raise Err(f"config: {', '.join(sorted(unknown))} is not known; there is at_least")

    def respond(self, config: str, request: Request, snapshot) -> Response:
        at_least = json.loads(config).get("at_least", 1)
        lines = [
            f"{target.namespace}/{target.pod} {total.requests}\n"
            for target, total in zip(snapshot.targets(), snapshot.totals())
            if total.requests >= at_least
        ]
        headers = [("content-type", "text/plain; charset=utf-8")]
        return Response(200, headers, "".join(lines).encode())
