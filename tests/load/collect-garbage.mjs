/**
 * For `node --import`: makes the process collect its garbage at SIGUSR2, so that its resident size shows the
 * memory in use. Without that, the time of V8's last collection decides.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");
process.on("SIGUSR2", () => collect());
