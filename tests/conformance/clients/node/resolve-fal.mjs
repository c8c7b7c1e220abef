/**
 * Resolves fal's host names to SERVED_AT, as DNS and a port-forward would: `node --import`. Names and
 * certificates are checked as usual; the clients are not changed.
 */
import { Socket } from "node:net";

const { hostname, port } = new URL(`https://${process.env.SERVED_AT}`);
const connect = Socket.prototype.connect;
Socket.prototype.connect = function (...args) {
  // Node's own modules pass their arguments as one list.
  const [options] = Array.isArray(args[0]) ? args[0] : args;
  if (/(^|\.)fal\.(run|ai|media)$/.test(options?.host ?? ""))
    Object.assign(options, { host: hostname, port });
  return connect.apply(this, args);
};
