import { escapeControl } from "../core/json/escape-control.ts";
import type { Status } from "./platform-client.ts";

const BAR_WIDTH = 28;

export interface ProgressView {
  show(status: Status): void;
  /** Ends the line of the progress bar. */
  end(): void;
}

/**
 * Creates a view of a request's progress: its position in the queue, its steps and its log lines. A terminal
 * gets a bar that is redrawn in place; any other output gets plain lines.
 *
 * @param label prefix of every line
 */
export function createProgressView(
  out: Pick<NodeJS.WriteStream, "write" | "isTTY">,
  label = "",
): ProgressView {
  let drawn = false;
  let last = "";
  const clear = (): void => {
    if (drawn) out.write("\r\u001b[2K");
    drawn = false;
  };
  const line = (text: string): void => {
    clear();
    out.write(`  ${label}${escapeControl(text)}\n`);
  };
  return {
    show({ status, queue_position: position, progress, logs }) {
      for (const { message, level } of logs ?? [])
        line(level === "INFO" || level === "DEBUG" ? `· ${message}` : `· ${level}: ${message}`);
      if (status === "IN_QUEUE") {
        const text = position ? `in the queue, ${position} ahead` : "in the queue, next";
        if (text !== last) line(text);
        last = text;
      } else if (status === "IN_PROGRESS" && !progress) {
        if (last !== "running") line("running");
        last = "running";
      } else if (status === "IN_PROGRESS" && progress) {
        const { step, steps, remaining_seconds: left } = progress;
        const done = Math.round((step / Math.max(steps, 1)) * BAR_WIDTH);
        const number = String(step).padStart(String(steps).length);
        const text = `step ${number}/${steps}${left === undefined ? "" : `, ${left.toFixed(1)} s left`}`;
        last = "progress";
        if (!out.isTTY) return line(text);
        clear();
        out.write(`  ${label}${"█".repeat(done)}${"░".repeat(BAR_WIDTH - done)} ${text}`);
        drawn = true;
      }
    },
    end() {
      if (drawn) out.write("\n");
      drawn = false;
    },
  };
}
