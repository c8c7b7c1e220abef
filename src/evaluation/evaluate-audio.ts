/**
 * Whether what is heard happens when it is seen: drawn clips, whose every hit and flash is known, are given a
 * sound.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isInStep, soundOnsets } from "./audio-judge.ts";
import { drawSoundingClip, type SoundingClip } from "./audible-clip.ts";
import type { Evaluation } from "./evaluation.ts";

type SoundEntry = SoundingClip & { prompt: string; seed: number };

const TOLERANCE_SECONDS = 0.1;

export const sounds: Evaluation = {
  makes: "sounds",
  limits: { events: 0.85 },
  async judge({ each, render, clips, folder }) {
    return each(async (raw, i) => {
      const entry = raw as unknown as SoundEntry;
      const { prompt, seed, seconds, fps, events, action } = entry;
      const [silent, sounding] = [join(folder, `${i}-silent.mp4`), join(folder, `${i}.mp4`)];
      await clips.write(silent, { width: entry.width, height: entry.height }, fps, drawSoundingClip(entry));
      await writeFile(
        sounding,
        await render({ prompt, seed, duration: seconds, video_url: "attachment:0" }, [silent]),
      );
      const { sound } = await clips.decode(sounding, { width: 16, height: 16 });
      const heard = sound ? soundOnsets(sound.samples, sound.sampleRate) : [];
      const list = (times: readonly number[]) => `[${times.map((at) => at.toFixed(2)).join(" ")}]`;
      return {
        says: `"${prompt}": ${action} at ${list(events)}, heard ${list(heard)}`,
        right: { events: isInStep(heard, events, TOLERANCE_SECONDS), count: heard.length === events.length },
      };
    });
  },
};
