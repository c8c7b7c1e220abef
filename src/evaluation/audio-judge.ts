/**
 * Judges audio by the times at which its events begin; `onsets` and `in_step` of
 * training/tempera_training/audio/waveforms.py do the same.
 */

/** The interval at which loudness is measured. */
const STEP_SECONDS = 0.01;
/** Quieter audio counts as silence, in dB of full scale. */
const LOUD_DB = -38;
/** An event begins where the audio is this much louder than the quietest of the five steps before, in dB. */
const RISE_DB = 12;
/** Two onsets less than this apart belong to one event: the second is its echo or a beat of its overtones. */
const APART_SECONDS = 0.15;

/**
 * Finds the times at which audio events begin, in seconds.
 *
 * @param samples -1..1
 */
export function audioOnsets(samples: Float32Array, sampleRate: number): number[] {
  const size = Math.round(sampleRate * STEP_SECONDS);
  const levels = Array.from({ length: Math.floor(samples.length / size) }, (_, k) => {
    const power =
      samples.subarray(k * size, (k + 1) * size).reduce((sum, value) => sum + value * value, 0) / size;
    return 10 * Math.log10(power + 1e-7);
  });
  const onsets: number[] = [];
  levels.forEach((level, k) => {
    const before = k === 0 ? -70 : Math.min(...levels.slice(Math.max(0, k - 5), k));
    const since = k * STEP_SECONDS - (onsets.at(-1) ?? Number.NEGATIVE_INFINITY);
    if (level > LOUD_DB && level - before > RISE_DB && since > APART_SECONDS) onsets.push(k * STEP_SECONDS);
  });
  return onsets;
}

/**
 * Tells whether every visible event is audible within `toleranceSeconds`, and nothing else is. Times in
 * seconds.
 */
export function isInStep(
  audible: readonly number[],
  visible: readonly number[],
  toleranceSeconds = 0.1,
): boolean {
  const sorted = (times: readonly number[]) => [...times].sort((a, b) => a - b);
  const [heard, seen] = [sorted(audible), sorted(visible)];
  return (
    heard.length === seen.length &&
    heard.every((seconds, i) => Math.abs(seconds - (seen[i] ?? 0)) <= toleranceSeconds)
  );
}
