#!/usr/bin/env python3
"""The observer protocol over the real agent: starts `owlk8s run` on the pods of a spec file.

    observer.py [--owlk8s target/release/owlk8s] SPEC.json

Started in the node's network namespace. Writes a configuration with one static target for each pod,
waits until all are active, prints READY, and answers each line `read` with one line of JSON: the
cumulative counters of a fresh /snapshot by pod name. Ends the agent at end of file.

The binary is also taken from $OWLK8S, and the agent's log goes to the file that $OWLK8S_LOG names.
"""
import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

REPO = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../.."))
START_SECONDS = 20


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def config(spec, port):
    """TOML by hand: JSON strings are TOML strings."""
    targets = []
    for pod in spec["pods"]:
        ips = [pod[k] for k in ("ip4", "ip6") if pod.get(k)]
        targets.append("  { pod = %s, ips = %s, interface = %s }" % (
            json.dumps(pod["name"]), json.dumps(ips), json.dumps(pod["ifname"])))
    return "\n".join([
        'node = "scenarios"',
        'interval = "1s"',
        "[admin]",
        'listen = "127.0.0.1:%d"' % port,
        "[discovery.static]",
        "targets = [",
        ",\n".join(targets),
        "]",
        ""])


def snapshot(port):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        c.request("GET", "/snapshot")
        r = c.getresponse()
        body = r.read()
        if r.status != 200:
            raise OSError(f"/snapshot: {r.status} {body!r}")
        return json.loads(body)
    finally:
        c.close()


def counters(target):
    """One target of a snapshot in the protocol's words."""
    totals, methods, codes = target["totals"], {}, {}
    for row in target["rows"]:
        if row["direction"] != "server" or row["probe"]:
            continue
        methods[row["method"]] = methods.get(row["method"], 0) + row["count"]
        code = str(row["status"])
        codes[code] = codes.get(code, 0) + row["count"]
    out = {k: totals[k] for k in ("requests", "err4", "err5", "aborted", "duration_count")}
    out["duration_sum_us"] = totals["duration_sum_ns"] / 1e3
    out["methods"], out["codes"] = methods, codes
    grpc = {}
    for row in target.get("grpc", []):
        if row["direction"] == "server":
            grpc[str(row["status"])] = grpc.get(str(row["status"]), 0) + row["count"]
    if grpc:
        out["grpc"] = grpc
    # Not judged, but worth reading when a count is off.
    out["x_in_flight"] = totals["in_flight"]
    out["x_losses"] = {k: v for k, v in totals["losses"].items() if v}
    return out


def wait_active(agent, port, pods):
    """Until every pod is attached; the last word on those that are not is the error."""
    end, last = time.monotonic() + START_SECONDS, "nothing was answered"
    while time.monotonic() < end:
        if agent.poll() is not None:
            raise RuntimeError(f"the agent ended with {agent.returncode}")
        try:
            targets = snapshot(port)["targets"]
            missing = [f"{t['pod']}: {t['status']} {t['reason']}" for t in targets if t["hook"] is None]
            if len(targets) == pods and not missing:
                return
            last = "; ".join(missing) or f"{len(targets)} of {pods} targets"
        except (OSError, http.client.HTTPException) as e:
            last = str(e)
        time.sleep(0.02)
    raise RuntimeError(f"not attached after {START_SECONDS} s: {last}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--owlk8s", default=os.environ.get("OWLK8S", os.path.join(REPO, "target/release/owlk8s")))
    ap.add_argument("spec")
    a = ap.parse_args()
    with open(a.spec) as f:
        spec = json.load(f)
    if not os.access(a.owlk8s, os.X_OK):
        sys.exit(f"observer: {a.owlk8s} is not there: run `make build`, or name the binary with --owlk8s")
    port = free_port()
    log_name = os.environ.get("OWLK8S_LOG")
    log = open(log_name, "ab") if log_name else None
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as f:
        f.write(config(spec, port))
        f.flush()
        agent = subprocess.Popen([a.owlk8s, "run", "--config", f.name], stdin=subprocess.DEVNULL,
                                 stdout=log or subprocess.DEVNULL, stderr=log)
        try:
            wait_active(agent, port, len(spec["pods"]))
            print("READY", flush=True)
            for line in sys.stdin:
                if line.strip() == "read":
                    by_pod = {t["pod"]: counters(t) for t in snapshot(port)["targets"]}
                    print(json.dumps(by_pod), flush=True)
        finally:
            agent.send_signal(signal.SIGTERM)
            try:
                agent.wait(8)
            except subprocess.TimeoutExpired:
                print("observer: the agent did not end in 8 s", file=sys.stderr)
                agent.kill()
                agent.wait()


if __name__ == "__main__":
    main()
