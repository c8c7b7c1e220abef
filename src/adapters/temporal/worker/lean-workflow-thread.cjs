/**
 * The SDK's thread for workflow code, without its hook on every promise. The hook takes a stack trace at
 * each: 2 ms for a node of a pipeline, more than the node's own code. The query `__stack_trace`, which reads
 * those traces, answers that they are not enabled. CommonJS, as the SDK's own: a thread loads no TypeScript.
 */
const { globalHandlers } = require("@temporalio/worker/lib/workflow/vm-shared.js");

globalHandlers.setPromiseHook = () => {};
require("@temporalio/worker/lib/workflow/workflow-worker-thread.js");
