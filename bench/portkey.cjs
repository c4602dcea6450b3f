// Loaded into Portkey's gateway before its own code: it has no option for these two.
"use strict";
const net = require("node:net");

// It would listen at all addresses.
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
  if (typeof given[0] === "number") {
    given.splice(0, 1, { port: given[0], host: "127.0.0.1" });
    if (typeof given[1] === "string") given.splice(1, 1);
  } else if (given[0] && typeof given[0] === "object" && "port" in given[0]) {
    given[0] = { ...given[0], host: "127.0.0.1" };
  }
  return listen.apply(this, given);
};

// It changes the headers of what fetch gave it, which node does not allow; a copy may be changed.
const fetch = globalThis.fetch;
globalThis.fetch = async (...given) => {
  const answer = await fetch(...given);
  return new Response(answer.body, {
    status: answer.status,
    statusText: answer.statusText,
    headers: answer.headers,
  });
};
