/**
 * The way to the embedded Temporal, as a process of its own: `node door.mjs`. It runs where Temporal's ports
 * are, in a network of their own if the host permits that, and accepts connections on listening sockets that
 * its parent hands over, each with a message that says what they lead to:
 *
 * - `{ leadsTo: "server", port, cert, key, ca }`: callers need a client certificate of the authority
 * - `{ leadsTo: "ui", port, hosts, password }`: callers need the password, and a page of another origin
 *   cannot use that of a browser
 *
 * It says "open" once it has accepted the last of them (`isLast`).
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { createServer as createHttpServer, request as sendRequest } from "node:http";
import { connect } from "node:net";
import { createServer as createTlsServer } from "node:tls";

const LOOPBACK = "127.0.0.1";
/** Only the server's own ends and the parent's signals end this process. */
process.on("SIGINT", () => {});

process.on("message", (message, listening) => {
  const front = message.leadsTo === "server" ? serverFront(message) : uiFront(message);
  listening.on("connection", (socket) => front.emit("connection", socket));
  if (message.isLast) process.send("open");
});

function serverFront({ port, cert, key, ca }) {
  const options = { cert, key, ca, requestCert: true, rejectUnauthorized: true, ALPNProtocols: ["h2"] };
  const front = createTlsServer({ ...options, minVersion: "TLSv1.3" }, (socket) => {
    const inner = connect({ port, host: LOOPBACK, noDelay: true });
    socket.setNoDelay(true);
    socket.pipe(inner).pipe(socket);
    socket.on("error", () => inner.destroy());
    inner.on("error", () => socket.destroy());
    socket.on("close", () => inner.destroy());
    inner.on("close", () => socket.destroy());
  });
  return front.on("tlsClientError", (_, socket) => socket.destroy());
}

function uiFront({ port, hosts, password }) {
  const digest = (text) => createHash("sha256").update(text).digest();
  const expected = digest(password);
  const front = createHttpServer((request, response) => {
    const refuse = (status, reason, headers = {}) => {
      response.writeHead(status, { "content-type": "text/plain; charset=utf-8", ...headers });
      response.end(`${reason}\n`);
    };
    if (!hosts.includes(request.headers.host))
      return refuse(403, `The Temporal UI is at ${hosts.join(" and ")} only; open it there.`);
    if (comesFromAnotherPage(request, hosts))
      return refuse(403, "The Temporal UI takes no requests of other pages; open it by its address.");
    if (!timingSafeEqual(digest(passwordOf(request)), expected))
      return refuse(401, "The Temporal UI needs its password, from the file temporal/password.", {
        "www-authenticate": 'Basic realm="Temporal UI of Tempera", charset="UTF-8"',
      });
    // With this header, the UI would not look for its own protection against requests of other pages.
    const { authorization: _, ...headers } = request.headers;
    const onward = { port, host: LOOPBACK, path: request.url, method: request.method, headers };
    const inner = sendRequest(onward, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    inner.on("error", () =>
      response.headersSent ? response.destroy() : refuse(502, "The Temporal UI is away."),
    );
    request.on("error", () => inner.destroy());
    response.on("close", () => inner.destroy());
    request.pipe(inner);
  });
  return front.on("upgrade", (_, socket) => socket.destroy());
}

/** Tells whether a browser sends a request for a page of another origin; it may follow a link. */
function comesFromAnotherPage({ headers, method }, hosts) {
  const { origin, "sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": destination } = headers;
  if (origin !== undefined && !hosts.some((host) => origin === `http://${host}`)) return true;
  const isLink = method === "GET" && mode === "navigate" && destination === "document";
  return site !== undefined && site !== "same-origin" && site !== "none" && !isLink;
}

/** Reads the password of `Authorization: Basic`, whose user is ignored. */
function passwordOf({ headers }) {
  const [, encoded = ""] = /^Basic ([A-Za-z0-9+/=]+)$/i.exec(headers.authorization ?? "") ?? [];
  const text = Buffer.from(encoded, "base64").toString();
  return text.slice(text.indexOf(":") + 1);
}
