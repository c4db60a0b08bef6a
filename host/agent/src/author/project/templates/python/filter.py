"""Keeps the pods that had requests."""

import json

import wit_world
from componentize_py_types import Err
from wit_world.imports.types import Verdict


class WitWorld(wit_world.WitWorld):
    def validate(self, config: str) -> None:
        """What is wrong is raised as `Err(text)`, and is what the user reads."""
        unknown = set(json.loads(config)) - {"at_least"}
        if unknown:
            raise Err(f"config: {', '.join(sorted(unknown))} is not known; there is at_least")

    def filter(self, config: str, snapshot) -> Verdict:
        at_least = json.loads(config).get("at_least", 1)
        totals = enumerate(snapshot.totals())
        busy = [index for index, total in totals if total.requests >= at_least]
        return Verdict(replace=None, targets=busy, rows=None, renames=[])
