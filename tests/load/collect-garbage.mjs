/**
 * For `node --import`: the process collects its garbage when it is sent SIGUSR2, so that what it holds can be
 * read from its resident size. Without that, when V8 last found the time decides.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");
process.on("SIGUSR2", () => collect());
