/**
 * Loaded with `--import` before a program: resolves fal's host names to 127.0.0.1 and REACH_PORT, as DNS and
 * a port-forward would. Names and certificates are checked as usual, and the program itself is unchanged.
 */
import { Agent, buildConnector, setGlobalDispatcher } from "undici";

const connect = buildConnector({});
const isFals = (host) => /(^|\.)(fal\.run|falrun\.com|fal\.ai|fal\.media)$/.test(host);

setGlobalDispatcher(
  new Agent({
    connect: (options, callback) =>
      isFals(options.hostname)
        ? connect(
            { ...options, servername: options.hostname, hostname: "127.0.0.1", port: process.env.REACH_PORT },
            callback,
          )
        : connect(options, callback),
  }),
);
