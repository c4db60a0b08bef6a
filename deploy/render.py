"""Renders the chart with Helm's own engine, and judges what comes out by the API's schemas.

    render.py            writes rendered/*.yaml
    render.py --check    compares instead, and fails where they differ

Run by `cargo xtask deploy [--check]`, which installs what requirements.txt names. Checked are the chart with each file of
chart/ci and examples/*/values.yaml, and all manifests of examples/, against every Kubernetes version that the schemas know.
"""

import sys
from pathlib import Path

import helm_python as helm
from kubernetes_validate import utils as schemas
import yaml

DEPLOY = Path(__file__).resolve().parent
CHART = DEPLOY / "chart"
RENDERED = DEPLOY / "rendered"
VERSIONS = schemas.all_versions()
# Kinds of the Prometheus operator, whose schemas are not Kubernetes' own.
FOREIGN = "monitoring.coreos.com/"
HEAD = "# Rendered from deploy/chart with {source} by `cargo xtask deploy`; do not edit.\n"


def values_of(path):
    return yaml.safe_load(path.read_text()) or {}


def render(values):
    """The documents in the order of the templates' names, the namespace first."""
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        manifests = chart.render(values, name="owlk8s", namespace="owlk8s")
    texts = [manifests[name].strip() for name in sorted(manifests) if name.endswith(".yaml")]
    documents = [part.strip() for text in texts for part in text.split("\n---\n")]
    documents = [text.removeprefix("---\n") for text in documents if yaml.safe_load(text)]
    return sorted(documents, key=lambda text: yaml.safe_load(text)["kind"] != "Namespace")


def judge(name, documents):
    problems = []
    for text in documents:
        document = yaml.safe_load(text)
        if document["apiVersion"].startswith(FOREIGN):
            continue
        for version in VERSIONS:
            try:
                schemas.validate(document, version, strict=True)
            except Exception as error:  # the module's own and jsonschema's have no common class
                path = ".".join(str(part) for part in getattr(error, "path", []))
                message = getattr(error, "message", error)
                problems.append(f"{name}: {document['kind']} {document['metadata']['name']}: {path}: {message} ({version})")
                break
    return problems


def lint():
    found = helm.lint(str(CHART))
    messages = found.get("messages", []) if isinstance(found, dict) else found
    # 1 is advice, such as an icon.
    return [f"chart: {message}" for message in messages if message["severity"] > 1]


def main():
    check = sys.argv[1:] == ["--check"]
    problems = lint()
    wanted = {}
    for path in sorted(CHART.glob("ci/*-values.yaml")):
        problems += judge(path.name, render(values_of(path)))
    sources = {"owlk8s": CHART / "ci/default-values.yaml"}
    sources |= {path.parent.name: path for path in sorted(DEPLOY.glob("examples/*/values.yaml"))}
    for name, path in sources.items():
        # Applied as it is, so the namespace belongs to it.
        documents = render(values_of(path) | {"namespace": {"create": True}})
        problems += judge(f"{name}.yaml", documents)
        source = "its default values" if name == "owlk8s" else path.relative_to(DEPLOY.parent)
        wanted[f"{name}.yaml"] = HEAD.format(source=source) + "\n---\n".join(documents) + "\n"
    for path in sorted(DEPLOY.glob("examples/*/*.yaml")):
        if path.name != "values.yaml":
            documents = [part for part in path.read_text().split("\n---\n") if yaml.safe_load(part)]
            problems += judge(str(path.relative_to(DEPLOY)), documents)
    there = {path.name: path.read_text() for path in RENDERED.glob("*.yaml")}
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) == there.get(name):
            continue
        if check:
            problems.append(f"deploy/rendered/{name} is not what the chart renders: run `cargo xtask deploy` and commit")
        elif name in wanted:
            (RENDERED / name).write_text(wanted[name])
        else:
            (RENDERED / name).unlink()
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(wanted)} manifests, Kubernetes {VERSIONS[0]} to "
          f"{VERSIONS[-1]}, Helm {helm.helm_sdk_version()}: {len(problems)} problems")
    sys.exit(1 if problems else 0)


main()
