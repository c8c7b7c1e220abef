/**
 * Evaluates whether audio events happen at the visible ones: clips are drawn whose every hit and flash is
 * known, and the model adds audio to them.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type AudibleClip, drawAudibleClip } from "./audible-clip.ts";
import { audioOnsets, isInStep } from "./audio-judge.ts";
import type { Evaluation } from "./evaluation.ts";

type AudioEntry = AudibleClip & { prompt: string; seed: number };

const TOLERANCE_SECONDS = 0.1;

export const audioEvaluation: Evaluation = {
  plural: "audio tracks",
  limits: { events: 0.85 },
  async judge({ each, render, clips, folder }) {
    return each(async (raw, i) => {
      const entry = raw as unknown as AudioEntry;
      const { prompt, seed, seconds, fps, width, height, events, action } = entry;
      const [silent, audible] = [join(folder, `${i}-silent.mp4`), join(folder, `${i}.mp4`)];
      await clips.write(silent, { width, height }, fps, drawAudibleClip(entry));
      const input = { prompt, seed, duration: seconds, video_url: "attachment:0" };
      await writeFile(audible, await render(input, [silent]));
      const { audio } = await clips.decode(audible, { width: 16, height: 16 });
      const heard = audio ? audioOnsets(audio.samples, audio.sampleRate) : [];
      const list = (times: readonly number[]) => `[${times.map((time) => time.toFixed(2)).join(" ")}]`;
      return {
        summary: `"${prompt}": ${action} at ${list(events)}, heard ${list(heard)}`,
        correct: {
          events: isInStep(heard, events, TOLERANCE_SECONDS),
          count: heard.length === events.length,
        },
      };
    });
  },
};
