// Keeps the pods that had requests.

// What is wrong is thrown as text, and is what the user reads.
export function validate(config) {
  const unknown = Object.keys(JSON.parse(config)).filter((key) => key !== "at_least");
  if (unknown.length > 0) throw `config: ${unknown.join(", ")} is not known; there is at_least`;
}

export function filter(config, snapshot) {
  const atLeast = BigInt(JSON.parse(config).at_least ?? 1);
  const busy = [];
  for (const [index, total] of snapshot.totals().entries()) {
    if (total.requests >= atLeast) busy.push(index);
  }
  snapshot[Symbol.dispose](); // it was lent, and is given back before the call ends
  return { targets: new Uint32Array(busy), renames: [] };
}
