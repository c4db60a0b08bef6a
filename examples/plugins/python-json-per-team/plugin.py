"""A JSON object for each team, one a line, to endpoint `out`: the sums of its pods, by their label `team`.

The sink grants the label by `columns = ["label:team"]`; `manifest.json` asks for it, so a sink that forgets it does not start.
"""

import json
from collections import defaultdict

import wit_world
from componentize_py_types import Err
from wit_world.imports.types import Payload


class WitWorld(wit_world.WitWorld):
    def validate(self, config: str) -> None:
        """The manifest's schema was checked before; there is nothing more to say."""

    def format(self, config: str, snapshot) -> list[Payload]:
        unknown = json.loads(config).get("without_team", "(none)")
        teams = snapshot.column("label:team")
        if teams is None:
            raise Err('the sink does not grant the label: columns = ["label:team"]')
        sums = defaultdict(lambda: {"pods": 0, "requests": 0, "err4": 0, "err5": 0})
        for team, total in zip(teams, snapshot.totals()):
            team_sum = sums[team or unknown]
            team_sum["pods"] += 1
            team_sum["requests"] += total.requests
            team_sum["err4"] += total.err4
            team_sum["err5"] += total.err5
        window = snapshot.window()
        lines = [
            json.dumps({"timestamp": window.end_unix_ns // 1_000_000, "team": team, **team_sum}, ensure_ascii=False) + "\n"
            for team, team_sum in sorted(sums.items())
        ]
        return [Payload("out", "application/x-ndjson", "".join(lines).encode())]
