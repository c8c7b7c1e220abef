/**
 * Rectified-flow sampling as FlowMatchEulerDiscreteScheduler of diffusers does it: noise levels σ from 1 to
 * 0, and Euler steps along the velocity.
 */
import { parseJson } from "../../../../core/json/exact-json.ts";

/** The fields of `scheduler_config.json`, as diffusers writes it. */
export interface SchedulerConfig {
  num_train_timesteps: number;
  shift: number;
  use_dynamic_shifting: boolean;
  time_shift_type: "exponential" | "linear";
  base_shift: number;
  max_shift: number;
  base_image_seq_len: number;
  max_image_seq_len: number;
  /** The last σ before 0 is stretched to this. */
  shift_terminal: number | null;
}

/** The library's own defaults, for fields that a file leaves out. */
const DEFAULTS: SchedulerConfig = {
  num_train_timesteps: 1000,
  shift: 1,
  use_dynamic_shifting: false,
  time_shift_type: "exponential",
  base_shift: 0.5,
  max_shift: 1.15,
  base_image_seq_len: 256,
  max_image_seq_len: 4096,
  shift_terminal: null,
};

/** Fields that would change the noise levels and are not implemented here. */
const UNSUPPORTED = [
  "invert_sigmas",
  "stochastic_sampling",
  "use_karras_sigmas",
  "use_exponential_sigmas",
  "use_beta_sigmas",
];

/** @throws an error that names the field, when the file configures something that is not implemented here */
export function parseSchedulerConfig(json: string): SchedulerConfig {
  const file = parseJson(json) as Record<string, unknown>;
  if (file._class_name !== undefined && file._class_name !== "FlowMatchEulerDiscreteScheduler") {
    throw new Error(
      `scheduler_config.json names ${String(file._class_name)}; ` +
        "this runner has FlowMatchEulerDiscreteScheduler only.",
    );
  }
  for (const name of UNSUPPORTED)
    if (file[name]) throw new Error(`scheduler_config.json sets ${name}, which this runner does not have.`);
  const config: SchedulerConfig = { ...DEFAULTS };
  for (const [name, fallback] of Object.entries(DEFAULTS)) {
    const value = file[name] ?? fallback;
    const fits =
      name === "shift_terminal"
        ? value === null || typeof value === "number"
        : typeof value === typeof fallback;
    if (!fits) throw new Error(`scheduler_config.json: ${name} has the wrong type.`);
    Object.assign(config, { [name]: value });
  }
  if (config.time_shift_type !== "exponential" && config.time_shift_type !== "linear") {
    throw new Error(`scheduler_config.json: time_shift_type is neither "exponential" nor "linear".`);
  }
  return config;
}

/**
 * Gives μ of dynamic shifting: the line through (base_image_seq_len, base_shift) and (max_image_seq_len,
 * max_shift). Qwen-Image at 1024² has 4096 tokens, which gives 0.6935.
 */
export function dynamicShift(config: SchedulerConfig, tokens: number): number {
  const slope =
    (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len);
  return config.base_shift + slope * (tokens - config.base_image_seq_len);
}

/**
 * Gives the noise levels of a run: `steps` of them, falling from 1, and a closing 0; float32.
 *
 * Starts from linspace(1, 1/steps, steps), as QwenImagePipeline does, and bends it by the shift.
 *
 * @param tokens packed latent tokens of the image, for dynamic shifting
 */
export function flowMatchSigmas(config: SchedulerConfig, steps: number, tokens: number): Float32Array {
  const mu = dynamicShift(config, tokens);
  const bend = (s: number): number => {
    if (!config.use_dynamic_shifting) return (config.shift * s) / (1 + (config.shift - 1) * s);
    const m = config.time_shift_type === "exponential" ? Math.exp(mu) : mu;
    return m / (m + (1 / s - 1));
  };
  const sigmas = Array.from({ length: steps }, (_, i) =>
    bend(steps === 1 ? 1 : 1 + (i * (1 / steps - 1)) / (steps - 1)),
  );
  const last = sigmas.at(-1) ?? 1;
  // Nothing can be stretched when the last level is 1 itself.
  if (config.shift_terminal !== null && last < 1) {
    const scale = (1 - last) / (1 - config.shift_terminal);
    sigmas.forEach((s, i) => {
      sigmas[i] = 1 - (1 - s) / scale;
    });
  }
  return Float32Array.from([...sigmas, 0]);
}

/**
 * Makes one Euler step of rectified flow, in place: x ← x + (σ[i+1] − σ[i])·v, in float32. Source:
 * FlowMatchEulerDiscreteScheduler, `step`.
 *
 * @param latents  noise at σ = 1
 * @param velocity same length, the transformer's prediction at σ[i]
 */
export function eulerStep(
  latents: Float32Array,
  velocity: Float32Array,
  sigma: number,
  sigmaNext: number,
): void {
  const change = Math.fround(sigmaNext - sigma);
  for (let i = 0; i < latents.length; i++) {
    latents[i] = (latents[i] ?? 0) + Math.fround(change * (velocity[i] ?? 0));
  }
}

/**
 * Brings data to a noise level: σ·noise + (1 − σ)·data, in float32. Source: FlowMatchEulerDiscreteScheduler,
 * `scale_noise`.
 *
 * @param data  any shape
 * @param noise same length
 */
export function addNoise(data: Float32Array, noise: Float32Array, sigma: number): Float32Array {
  return noise.map((value, i) => sigma * value + (1 - sigma) * (data[i] ?? 0));
}
