"""Starts the image as the chart says, under runc or crun, without a cluster.

    trial.py start               start it, and fail where it is not ready within two seconds
    trial.py measure 10 250x10   what it takes of memory and processor with so many pods, and so many plugins (1 by itself)

Run by `cargo xtask image --try` and `cargo xtask measure`. The container is that of rendered/owlk8s.yaml: user, capabilities,
read-only root, no_new_privs, mounts, memory limit, arguments, configuration; the seccomp profile is that of Debian's
golang-github-containers-common, which descends from Docker's as containerd's does, with the two rules that containerd (1.7) and
Docker (23) have and it lacks: bpf(2) for CAP_BPF, perf_event_open(2) for CAP_PERFMON. Instead of the node's network it has a
namespace of its own, in which owlk8s-apiserver plays the API server. Nothing of this machine is changed.
"""

import ctypes
import hashlib
import http.client
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parent
TARGET = DEPLOY.parent / "target"
ARCHIVE = TARGET / "image/owlk8s.tar"
MANIFEST = DEPLOY / "rendered/owlk8s.yaml"
SECCOMP = Path("/usr/share/containers/seccomp.json")
READY_WITHIN = 2.0
LATE = "it was ready after"
TRIES = 3
ADMIN = 9465
TOKEN = "a-token-of-the-trial"
NODE = "node-0"
MIB = 1 << 20
# As containerd has them for every container that is not privileged.
MASKED = ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
          "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"]
# By capability, what RuntimeDefault allows beyond Debian's profile.
BEYOND = {"CAP_BPF": "bpf", "CAP_PERFMON": "perf_event_open"}
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, **options)


def find_runtime():
    found = [name for name in ("runc", "crun") if shutil.which(name)]
    if not found:
        sys.exit("neither runc nor crun is there: apt-get install runc")
    if not SECCOMP.is_file():
        sys.exit(f"{SECCOMP} is missing: apt-get install golang-github-containers-common")
    if not ARCHIVE.is_file():
        sys.exit(f"{ARCHIVE} is missing: cargo xtask image")
    return found[0]


class Network:
    """A network namespace in the node's place."""

    def __init__(self):
        self.name = f"owlk8s-trial-{os.getpid()}"
        self.path = f"/run/netns/{self.name}"
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")

    def inside(self, what, path=None):
        """Calls `what` on a thread that is inside; sockets that it makes stay there."""
        answer = {}

        def call():
            try:
                with open(path or self.path) as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000) != 0:
                        raise OSError(ctypes.get_errno(), f"cannot enter {self.name}")
                answer["value"] = what()
            except Exception as error:  # handed on to who waits
                answer["error"] = error

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        if "error" in answer:
            raise answer["error"]
        return answer["value"]

    def get(self, path):
        def ask():
            connection = http.client.HTTPConnection("127.0.0.1", ADMIN, timeout=3)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            finally:
                connection.close()
        try:
            return self.inside(ask)
        except OSError as error:
            return 0, str(error)

    def close(self):
        subprocess.run(["ip", "netns", "delete", self.name], check=False)


def unpack(root):
    """The layer of the archive, by the digests that lead to it."""
    with tarfile.open(ARCHIVE) as archive:
        def blob(descriptor):
            kind, digest = descriptor["digest"].split(":")
            content = archive.extractfile(f"./blobs/{kind}/{digest}").read()
            if hashlib.new(kind, content).hexdigest() != digest:
                sys.exit(f"{ARCHIVE}: {descriptor['digest']} holds something else")
            return content
        index = json.load(archive.extractfile("./index.json"))
        manifest = json.loads(blob(index["manifests"][0]))
        config = json.loads(blob(manifest["config"]))
        for layer in manifest["layers"]:
            file = root.with_suffix(".tar")
            file.write_bytes(blob(layer))
            with tarfile.open(file) as content:
                content.extractall(root)
            file.unlink()
    return config["config"]


def seccomp(capabilities):
    """Docker's profile is written for all containers; this is what it means for one with these capabilities."""
    profile = json.loads(SECCOMP.read_text())
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    kernel = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])

    def holds(rule):
        wants, but = rule.get("includes") or {}, rule.get("excludes") or {}
        least = wants.get("minKernel")
        return (all(name in capabilities for name in wants.get("caps") or [])
                and (not wants.get("arches") or machine in wants["arches"])
                and (not least or kernel >= tuple(int(part) for part in least.split(".")))
                and not any(name in capabilities for name in but.get("caps") or [])
                and machine not in (but.get("arches") or []))

    keys = ("names", "action", "args", "errnoRet")
    calls = [{key: rule[key] for key in keys if rule.get(key) is not None} for rule in profile["syscalls"] if holds(rule)]
    beyond = [name for capability, name in BEYOND.items() if capability in capabilities]
    for rule in calls:
        rule["names"] = [name for name in rule["names"] if name not in beyond]
    calls = [rule for rule in calls if rule["names"]] + [{"names": [name], "action": "SCMP_ACT_ALLOW"} for name in beyond]
    architecture = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}[machine]
    wanted = {"defaultAction": profile["defaultAction"], "architectures": [architecture], "syscalls": calls}
    if "defaultErrnoRet" in profile:
        wanted["defaultErrnoRet"] = profile["defaultErrnoRet"]
    return wanted


def quantity(text):
    for suffix, factor in (("Gi", 1 << 30), ("Mi", MIB), ("Ki", 1 << 10)):
        if text.endswith(suffix):
            return int(text.removesuffix(suffix)) * factor
    return int(text)


class Container:
    """The DaemonSet's one container."""

    def __init__(self, runtime, work, network, configuration=None):
        self.runtime, self.work, self.network = runtime, work, network
        self.id = f"owlk8s-trial-{os.getpid()}"
        documents = {d["kind"]: d for d in yaml.safe_load_all(MANIFEST.read_text())}
        self.pod = documents["DaemonSet"]["spec"]["template"]["spec"]
        self.spec = self.pod["containers"][0]
        text = documents["ConfigMap"]["data"]["owlk8s.toml"]
        self.image = unpack(work / "rootfs")
        self.folders = {}
        for volume in self.pod["volumes"]:
            folder = work / "volumes" / volume["name"]
            folder.mkdir(parents=True)
            self.folders[volume["name"]] = folder
        # The kubelet's mode of an emptyDir.
        self.folders["cache"].chmod(0o777)
        (self.folders["config"] / "owlk8s.toml").write_text(configuration or text)

    def api_access(self, authority):
        folder = self.folders["api-access"]
        for name, text in (("token", TOKEN), ("ca.crt", authority.read_text()), ("namespace", "owlk8s")):
            (folder / name).write_text(text)
            (folder / name).chmod(0o400)

    def config(self, env):
        context, pod = self.spec["securityContext"], self.pod["securityContext"]
        if pod["seccompProfile"]["type"] != "RuntimeDefault" or context["capabilities"]["drop"] != ["ALL"]:
            sys.exit(f"{MANIFEST}: RuntimeDefault and drop: [ALL] are what this knows to do")
        capabilities = sorted(f"CAP_{name}" for name in context["capabilities"]["add"])
        self.capabilities = capabilities
        mount = {m["name"]: m for m in self.spec["volumeMounts"]}
        binds = [{"destination": m["mountPath"], "type": "bind", "source": str(self.folders[name]),
                  "options": ["rbind", "rprivate", "ro" if m.get("readOnly") else "rw"]} for name, m in mount.items()]
        system = [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": context["runAsUser"], "gid": context["runAsGroup"]},
                "args": self.image["Entrypoint"] + self.spec["args"],
                "env": self.image["Env"] + env,
                "cwd": self.image["WorkingDir"],
                "noNewPrivileges": not context["allowPrivilegeEscalation"],
                "capabilities": {kind: capabilities for kind in ("bounding", "effective", "permitted")},
            },
            "root": {"path": "rootfs", "readonly": context["readOnlyRootFilesystem"]},
            "mounts": system + binds,
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                               {"type": "network", "path": self.network.path}],
                "resources": {"memory": {"limit": quantity(self.spec["resources"]["limits"]["memory"])}},
                "seccomp": seccomp(capabilities),
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
            },
        }

    def start(self, env):
        (self.work / "config.json").write_text(json.dumps(self.config(env)))
        self.log = self.work / "log"
        self.began = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen([self.runtime, "run", "--bundle", str(self.work), self.id],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ready(self, within=20.0):
        """Seconds from the runtime's start to the first 200 of /readyz."""
        said = "nothing"
        while time.monotonic() - self.began < within:
            status, said = self.network.get("/readyz")
            if status == 200:
                return time.monotonic() - self.began
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        sys.exit(f"not ready within {within:.0f} s: {said.strip()}\n{self.log.read_text()}")

    def processes(self):
        """The agent and its plugin process."""
        state = json.loads(run(self.runtime, "state", self.id, capture_output=True).stdout)
        agent = state["pid"]
        children = " ".join(file.read_text() for file in Path(f"/proc/{agent}/task").glob("*/children")).split()
        return {"agent": agent} | {"plugin process": int(pid) for pid in children}

    def stop(self):
        """As the kubelet does; the seconds that it took."""
        began = time.monotonic()
        subprocess.run([self.runtime, "kill", self.id, "TERM"], check=False)
        try:
            self.process.wait(self.pod["terminationGracePeriodSeconds"])
        except subprocess.TimeoutExpired:
            subprocess.run([self.runtime, "kill", self.id, "KILL"], check=False)
            self.process.wait(5)
        subprocess.run([self.runtime, "delete", "--force", self.id], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.monotonic() - began


def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def memory(pid):
    """Resident, and of that what is not the binary's file, in MiB."""
    fields = status(pid)
    kib = {name: int(fields[name].split()[0]) for name in ("VmRSS", "RssAnon", "RssFile")}
    return kib["VmRSS"] / 1024, kib["RssAnon"] / 1024


def capability_names(mask):
    """What a mask of /proc/PID/status holds, by capsh."""
    said = run("capsh", f"--decode={mask}", capture_output=True).stdout
    return sorted(name.upper() for name in said.strip().partition("=")[2].split(",") if name)


class ApiServer:
    def __init__(self, work, network, pods):
        self.kubeconfig = work / "kubeconfig"
        binary = TARGET / "release/owlk8s-apiserver"
        if not binary.is_file():
            sys.exit(f"{binary} is missing: cargo build --release --workspace")
        def spawn():
            return subprocess.Popen([binary, "--tls", "--token", TOKEN, "--nodes", "1", "--pods-per-node", str(pods),
                                     "--services", "3", "--port", "6443", "--kubeconfig", self.kubeconfig],
                                    stdout=subprocess.DEVNULL)
        self.process = network.inside(spawn)
        self.authority = self.kubeconfig.with_suffix(".ca.crt")
        end = time.monotonic() + 10
        while not (self.kubeconfig.exists() and self.authority.exists()):
            if time.monotonic() > end or self.process.poll() is not None:
                sys.exit("owlk8s-apiserver does not come up")
            time.sleep(0.01)

    def close(self):
        self.process.terminate()
        self.process.wait()


def contents():
    total = {}
    with tarfile.open(ARCHIVE) as archive:
        layer = max((m for m in archive if m.isfile()), key=lambda m: m.size)
        with tarfile.open(fileobj=archive.extractfile(layer)) as files:
            for file in files:
                if file.isfile():
                    total[file.name.removeprefix("./")] = file.size
    print(f"{ARCHIVE.name}: {ARCHIVE.stat().st_size / 1e6:.1f} MB")
    for name, size in sorted(total.items(), key=lambda entry: -entry[1]):
        print(f"  {size / 1e6:8.2f} MB  {name}")


def start(runtime):
    problems = []
    with tempfile.TemporaryDirectory(prefix="owlk8s-trial-") as work:
        work, network, api = Path(work), Network(), None
        try:
            container = Container(runtime, work, network)
            api = ApiServer(work, network, 10)
            container.api_access(api.authority)
            container.start([f"NODE_NAME={NODE}", "KUBERNETES_SERVICE_HOST=127.0.0.1",
                             "KUBERNETES_SERVICE_PORT=6443"])
            try:
                took = container.ready()
                used = processor(container.processes()["agent"])
                print(f"{container.runtime}: ready after {took:.2f} s, {used:.2f} s of processor time in them")
                # Most of it is the kernel's verifier. Where others have the processors, the time on the clock says nothing.
                busy = os.getloadavg()[0] > (os.cpu_count() or 1)
                if busy:
                    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors: judged by processor time")
                if (used if busy else took) > READY_WITHIN:
                    problems.append(f"{LATE} {took:.2f} s, and shall be within {READY_WITHIN:.0f} s")
                # A sink is active when its plugin is loaded.
                end = time.monotonic() + 20
                while time.monotonic() < end and '"state":"active"' not in network.get("/plugins")[1]:
                    time.sleep(0.05)
                plugins = json.loads(network.get("/plugins")[1])
                print("sinks: " + ", ".join(f"{sink['name']} {sink['state']} {sink['reason']}".strip() for sink in plugins)
                      + f" after {time.monotonic() - container.began:.2f} s")
                problems += [f"sink {sink['name']} is {sink['state']}: {sink['reason']}" for sink in plugins
                             if sink["state"] != "active"]
                metrics = network.get("/metrics")[1]
                loads = [line for line in metrics.splitlines() if line.startswith("owlk8s_plugin_components_total")]
                print("components: " + ", ".join(line.partition("result=")[2].replace("}", "") for line in loads))
                if 'owlk8s_plugin_components_total{result="compiled"} 0' not in loads:
                    problems.append("it compiled a shipped plugin, whose code should lie in the image")
                targets = json.loads(network.get("/snapshot")[1])["targets"]
                print(f"targets: {len(targets)} by the API server")
                if not targets:
                    problems.append("it knows no pod of the API server's")
                for name, pid in container.processes().items():
                    fields = status(pid)
                    resident, own = memory(pid)
                    held = capability_names(fields["CapPrm"])
                    print(f"{name}: {resident:.1f} MiB resident, {own:.1f} MiB of it its own; user {fields['Uid'].split()[0]}, "
                          f"no_new_privs {fields['NoNewPrivs']}, seccomp {fields['Seccomp']}, holds {' '.join(held) or 'no capability'}")
                    if name != "agent" and (held or fields["Uid"].split()[0] == "0"):
                        problems.append(f"the {name} is user {fields['Uid']} with {held}")
                    if not set(held) <= set(container.capabilities):
                        problems.append(f"the {name} holds {held}")
                try:
                    (Path(f"/proc/{container.processes()['agent']}/root") / "trial").write_text("x")
                    problems.append("its root can be written")
                except OSError as error:
                    print(f"root: {error.strerror}")
            finally:
                took = container.stop()
                print(f"ended with {container.process.returncode} after {took:.2f} s")
                if problems or container.process.returncode != 0:
                    problems.append(f"its log:\n{container.log.read_text()}")
        finally:
            if api:
                api.close()
            network.close()
    return problems


class Pods:
    """Real namespaces on veth pairs, each with a server; the clients are in the node's."""

    def __init__(self, network, count):
        self.network, self.count, self.stopped = network, count, False
        batch, self.names = [], []
        for n in range(count):
            name = f"{network.name}-{n}"
            self.names.append(name)
            run("ip", "netns", "add", name)
            batch += [f"link add vt{n} type veth peer name eth0 netns {name}",
                      f"addr add 169.254.1.1/32 dev vt{n}", f"link set vt{n} up", f"route add {self.ip(n)}/32 dev vt{n}"]
        run("ip", "-n", network.name, "-batch", "-", input="\n".join(batch))
        for n, name in enumerate(self.names):
            lines = ["link set lo up", f"addr add {self.ip(n)}/32 dev eth0", "link set eth0 up",
                     "route add 169.254.1.1 dev eth0 scope link", "route add default via 169.254.1.1"]
            run("ip", "-n", name, "-batch", "-", input="\n".join(lines))

    @staticmethod
    def ip(n):
        return f"10.77.{n // 250}.{n % 250 + 1}"

    def configuration(self):
        targets = ",\n".join(
            f'{{ pod = "pod-{n}", namespace = "shop", workload = "Deployment/d{n // 10}", services = ["s{n // 10}"], '
            f'ips = ["{self.ip(n)}"], interface = "vt{n}" }}' for n in range(self.count))
        return f"[discovery.static]\ntargets = [\n{targets}\n]\n"

    def traffic(self, seconds, rate):
        """`rate` requests a second to each pod over one connection, for so long; how many were answered."""
        pairs = []
        for n, name in enumerate(self.names):
            listener = self.network.inside(lambda: socket.create_server((self.ip(n), 80)), f"/run/netns/{name}")
            client = self.network.inside(lambda: socket.create_connection((self.ip(n), 80)))
            pairs.append((client, listener.accept()[0]))
            listener.close()
        answered, began, turn = 0, time.monotonic(), 0
        paths = ["/", "/cart", "/missing"]
        while time.monotonic() - began < seconds:
            for client, server in pairs:
                client.sendall(f"GET {paths[turn % 3]} HTTP/1.1\r\nHost: pod\r\nUser-Agent: trial\r\n\r\n".encode())
                server.recv(4096)
                word = "404 Not Found" if turn % 3 == 2 else "200 OK"
                server.sendall(f"HTTP/1.1 {word}\r\nContent-Length: 2\r\n\r\nok".encode())
                client.recv(4096)
                answered += 1
            turn += 1
            time.sleep(max(0.0, began + turn / rate - time.monotonic()))
        for pair in pairs:
            for end in pair:
                end.close()
        return answered

    def close(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def processor(pid):
    """Seconds of user and system time so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")



def more_sinks(count):
    """Sinks of the three plugins that most nodes have, beside the chart's one."""
    made = []
    for n in range(1, count):
        plugin = ("simple-log", "json-log", "prometheus")[n % 3]
        endpoint = f'{{ kind = "serve", listen = "127.0.0.1:{19000 + n}" }}' if plugin == "prometheus" else '{ kind = "stdout" }'
        made.append(f'[[sinks]]\nname = "sink-{n}"\nplugin = "{plugin}"\nendpoints.out = {endpoint}\n')
    return "\n".join(made)


def measure(runs, seconds=30, rate=2):
    """The chart's configuration, with the pods named in it instead of found by an API server."""
    problems = []
    print("pods  plugins  requests/s  agent MiB  plugins MiB  whole cgroup MiB  CPU m  counted")
    for count, plugins in runs:
        with tempfile.TemporaryDirectory(prefix="owlk8s-trial-") as work:
            work, network, pods = Path(work), Network(), None
            try:
                pods = Pods(network, count)
                documents = {d["kind"]: d for d in yaml.safe_load_all(MANIFEST.read_text())}
                text = documents["ConfigMap"]["data"]["owlk8s.toml"]
                lines = [line for line in text.splitlines() if not line.startswith("discovery")]
                # Tables follow the keys, and sinks come last.
                head, _, sinks = "\n".join(lines).partition("[[sinks]]")
                container = Container(find_runtime(), work, network, f"{head}\n{pods.configuration()}\n[[sinks]]{sinks}\n{more_sinks(plugins)}")
                container.start([f"NODE_NAME={NODE}"])
                try:
                    container.ready(within=180.0)
                    end = time.monotonic() + 30
                    while time.monotonic() < end and network.get("/snapshot")[1].count('"status":"active"') < count:
                        time.sleep(0.1)
                    before, began = {p: processor(p) for p in container.processes().values()}, time.monotonic()
                    answered = pods.traffic(seconds, rate)
                    elapsed = time.monotonic() - began
                    used = sum(processor(p) - before[p] for p in container.processes().values())
                    counted = sum(t["totals"]["requests"] for t in json.loads(network.get("/snapshot")[1])["targets"])
                    if counted != answered:
                        problems.append(f"{count} pods: {answered} requests were answered and {counted} counted")
                    resident = {name: memory(pid)[0] for name, pid in container.processes().items()}
                    whole = cgroup_memory(container.processes()["agent"])
                    print(f"{count:4}  {plugins:7}  {answered / elapsed:10.0f}  {resident['agent']:9.1f}  {resident['plugin process']:11.1f}"
                          f"  {whole:16.1f}  {1000 * used / elapsed:5.1f}  {counted} of {answered}")
                finally:
                    container.stop()
            finally:
                if pods:
                    pods.close()
                network.close()
    return problems


def cgroup_memory(pid):
    """What the limit is held against, kernel memory included, less file pages that can be let go; MiB."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            folder = Path("/sys/fs/cgroup/memory" + path)
            usage, key = folder / "memory.usage_in_bytes", "total_inactive_file"
        elif controllers == "":
            folder = Path("/sys/fs/cgroup" + path)
            usage, key = folder / "memory.current", "inactive_file"
        else:
            continue
        if usage.is_file():
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return (int(usage.read_text()) - int(stat[key])) / MIB
    return float("nan")


def main():
    words = sys.argv[1:]
    if os.geteuid() != 0:
        sys.exit("this makes network namespaces and starts a container: run it as root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if words == ["start"]:
        contents()
        runtime = find_runtime()
        # Other work of the machine makes it later, never earlier.
        for _ in range(TRIES):
            problems = start(runtime)
            if not any(problem.startswith(LATE) for problem in problems):
                break
    elif words[:1] == ["measure"]:
        runs = [word.partition("x") for word in words[1:] or ["10", "110", "250", "250x10"]]
        problems = measure([(int(pods), int(plugins or 1)) for pods, _, plugins in runs])
    else:
        sys.exit(__doc__)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


main()
