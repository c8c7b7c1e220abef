/**
 * An artifact is a produced file: immutable, addressed by its content. The same bytes have the same key, so a
 * retry that makes them again changes nothing.
 */
import type { ArtifactHead } from "../engines/engine.ts";

const EXTENSIONS: Record<string, string> = {
  "image/png": "png",
  "image/jpeg": "jpg",
  "image/webp": "webp",
  "video/mp4": "mp4",
  "audio/wav": "wav",
  "audio/mpeg": "mp3",
  "application/json": "json",
};

/** What a file of a type is called: `png`; `bin` for a type that is not known. */
export const extensionOf = (contentType: string): string =>
  EXTENSIONS[contentType.split(";")[0]?.trim().toLowerCase() ?? ""] ?? "bin";

/** `artifacts/ab/ab12….png`, where `ab12…` is the SHA-256 of the bytes. */
export const artifactKey = ({ sha256, contentType }: Pick<ArtifactHead, "sha256" | "contentType">): string =>
  `artifacts/${sha256.slice(0, 2)}/${sha256}.${EXTENSIONS[contentType] ?? "bin"}`;

/** Where the gateway serves an object of the artifacts tree. */
export const artifactUrl = (publicUrl: string, key: string): string =>
  `${publicUrl}/files/${key.slice("artifacts/".length)}`;
