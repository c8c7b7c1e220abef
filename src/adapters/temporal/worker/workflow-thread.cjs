/**
 * The SDK's thread for workflow code, without its hook on every promise, which takes the stack at each: 2 ms
 * for a node of a pipeline, more than its code. What needs the stacks, the query `__stack_trace`, says that
 * they are not enabled. The form is the SDK's: a thread has no reader of TypeScript.
 */
const { globalHandlers } = require("@temporalio/worker/lib/workflow/vm-shared.js");

globalHandlers.setPromiseHook = () => {};
require("@temporalio/worker/lib/workflow/workflow-worker-thread.js");
