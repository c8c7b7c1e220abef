/** The refusals of all that an operator's flags switch off. */
import { TemperaError } from "../errors/tempera-error.ts";
import type { Behaviour, Flags } from "./flags.ts";

/** A model or a workflow that can be called. */
type Callable =
  | { model: { endpoint: string }; pipeline?: undefined }
  | { pipeline: { endpoint: string }; model?: undefined };

/** Throws `disabled_by_operator` when a flag disables this model or workflow for this owner. */
export function refuseDisabledRoute(flags: Flags, { model, pipeline }: Callable, ownerId: string): void {
  refuseDisabledEndpoint(flags, model ? "model" : "workflow", (model ?? pipeline).endpoint, ownerId);
}

/** Does the same for an endpoint that is known by its name alone. */
export function refuseDisabledEndpoint(
  flags: Flags,
  kind: "model" | "workflow",
  endpoint: string,
  ownerId: string,
): void {
  if (!flags.isOn(kind, endpoint, ownerId))
    throw new TemperaError(
      "disabled_by_operator",
      `The ${kind} ${endpoint} is switched off on this server, ${DISABLED_FOR}`,
    );
}

/**
 * Throws `disabled_by_operator` when a flag disables a behaviour for this owner.
 *
 * @param without a sentence that says how to call without the behaviour
 */
export function refuseDisabledBehaviour(
  flags: Flags,
  behaviour: Behaviour,
  ownerId: string,
  without: string,
): void {
  if (flags.isOn("behaviour", behaviour, ownerId)) return;
  throw new TemperaError(
    "disabled_by_operator",
    `${behaviour} is switched off on this server, ${DISABLED_FOR} ${without}`,
  );
}

const DISABLED_FOR = "for everybody or for you; ask whoever runs it.";
