import { proxySinks, type WorkflowInterceptors, workflowInfo } from "@temporalio/workflow";
import type { ProgressSinks } from "./workflows.ts";

/** Interceptors that call a sink, and change the results of workflows and queries. */
export function interceptors(): WorkflowInterceptors {
  const { progress } = proxySinks<ProgressSinks>();
  return {
    inbound: [
      {
        async execute(input, next) {
          const { workflowType } = workflowInfo();
          progress.report(`entered ${workflowType}`);
          const result = await next(input);
          progress.report(`left ${workflowType}`);
          return `intercepted ${result}`;
        },
        async handleQuery(input, next) {
          return `intercepted ${await next(input)}`;
        },
      },
    ],
    outbound: [
      {
        async startTimer(input, next) {
          progress.report(`timer of ${input.durationMs} ms`);
          return next(input);
        },
      },
    ],
  };
}
