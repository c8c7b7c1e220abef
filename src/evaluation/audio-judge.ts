/**
 * Hears when sounds begin; `onsets` and `in_step` of training/tempera_training/sound/sounds.py do the same.
 */

/** How loudness is looked at: each 10 ms. */
const STEP_SECONDS = 0.01;
/** Quieter is no sound, in dB of full scale. */
const LOUD_DB = -38;
/** How much louder than the quietest of the last five steps. */
const RISE_DB = 12;
/** Of one sound, the echo and the beating of its partials. */
const APART_SECONDS = 0.15;

/** When sounds begin, in seconds. */
export function soundOnsets(samples: Float32Array, sampleRate: number): number[] {
  const size = Math.round(sampleRate * STEP_SECONDS);
  const levels = Array.from({ length: Math.floor(samples.length / size) }, (_, k) => {
    const power =
      samples.subarray(k * size, (k + 1) * size).reduce((sum, value) => sum + value * value, 0) / size;
    return 10 * Math.log10(power + 1e-7);
  });
  const found: number[] = [];
  levels.forEach((level, k) => {
    const before = k === 0 ? -70 : Math.min(...levels.slice(Math.max(0, k - 5), k));
    const since = k * STEP_SECONDS - (found.at(-1) ?? Number.NEGATIVE_INFINITY);
    if (level > LOUD_DB && level - before > RISE_DB && since > APART_SECONDS) found.push(k * STEP_SECONDS);
  });
  return found;
}

/** Whether every event that is seen is heard within `toleranceSeconds`, and nothing else is. */
export function isInStep(heard: readonly number[], seen: readonly number[], toleranceSeconds = 0.1): boolean {
  const sorted = (times: readonly number[]) => [...times].sort((a, b) => a - b);
  const [ears, eyes] = [sorted(heard), sorted(seen)];
  return (
    ears.length === eyes.length && ears.every((at, i) => Math.abs(at - (eyes[i] ?? 0)) <= toleranceSeconds)
  );
}
