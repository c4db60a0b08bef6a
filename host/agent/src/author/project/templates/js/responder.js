// Answers with the requests of each pod, one a line.

// What is wrong is thrown as text, and is what the user reads.
export function validate(config) {
  const unknown = Object.keys(JSON.parse(config)).filter((key) => key !== "at_least");
  if (unknown.length > 0) throw `config: ${unknown.join(", ")} is not known; there is at_least`;
}

export function respond(config, request, snapshot) {
  const atLeast = BigInt(JSON.parse(config).at_least ?? 1);
  const totals = snapshot.totals();
  let text = "";
  for (const [index, target] of snapshot.targets().entries()) {
    const { requests } = totals[index];
    if (requests >= atLeast) text += `${target.namespace}/${target.pod} ${requests}\n`;
  }
  snapshot[Symbol.dispose](); // it was lent, and is given back before the call ends
  return {
    status: 200,
    headers: [["content-type", "text/plain; charset=utf-8"]],
    body: new TextEncoder().encode(text),
  };
}
