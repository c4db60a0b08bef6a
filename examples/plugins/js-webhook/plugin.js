// One JSON object to endpoint `hook` whenever a service begins or ends to answer too many requests by 5xx. The endpoint is of kind
// `http`, so the host keeps its URL and token, and tries again while the server is away.
//
// Needs the sink's mode `delta`: a ratio is that of the window. What was told last is in the sink's state.

import { getState, setState } from "owlk8s:plugin/host@0.1.0";

const DEFAULTS = { error_ratio: 0.05, at_least: 20 };

// What is wrong is thrown as text, and is what the user reads.
export function validate(config) {
  for (const [key, value] of Object.entries(JSON.parse(config))) {
    if (!(key in DEFAULTS)) throw `config: ${key} is not known; there are ${Object.keys(DEFAULTS).join(", ")}`;
    if (typeof value !== "number" || value < 0) throw `config: ${key} must be a number from 0 on`;
  }
}

export function format(config, snapshot) {
  try {
    return message(JSON.parse(config), snapshot);
  } finally {
    snapshot[Symbol.dispose](); // it was lent, and is given back before the call ends
  }
}

function message(config, snapshot) {
  if (snapshot.temporality() !== "delta") throw 'this plugin needs mode = "delta"';
  const limits = { ...DEFAULTS, ...config };
  const services = new Map();
  const totals = snapshot.totals();
  for (const [index, target] of snapshot.targets().entries()) {
    for (const service of target.services) {
      const name = `${target.namespace}/${service}`;
      const sum = services.get(name) ?? { requests: 0, errors: 0 };
      sum.requests += Number(totals[index].requests);
      sum.errors += Number(totals[index].err5);
      services.set(name, sum);
    }
  }
  const before = new Set(remembered());
  const firing = [];
  for (const [name, { requests, errors }] of services) {
    if (requests >= limits.at_least && errors / requests > limits.error_ratio) firing.push(name);
  }
  firing.sort();
  const began = firing.filter((name) => !before.has(name));
  const ended = [...before].filter((name) => !firing.includes(name)).sort();
  if (began.length + ended.length === 0) return [];
  setState(new TextEncoder().encode(JSON.stringify(firing)));
  const about = (name) => ({ service: name, ...services.get(name) });
  const { endUnixNs } = snapshot.window();
  const body = { at_unix_ms: Number(endUnixNs / 1_000_000n), began: began.map(about), ended };
  return [{ endpoint: "hook", contentType: "application/json", body: new TextEncoder().encode(JSON.stringify(body)) }];
}

function remembered() {
  const state = getState();
  return state.length === 0 ? [] : JSON.parse(new TextDecoder().decode(state));
}
