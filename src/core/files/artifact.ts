/**
 * An artifact is a file that a request produced: immutable, and addressed by its content. The same bytes have
 * the same key, so a retry that makes them again changes nothing.
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

/** Returns the file name extension of a content type, such as `png`; `bin` for an unknown type. */
export function extensionOf(contentType: string): string {
  return EXTENSIONS[contentType.split(";")[0]?.trim().toLowerCase() ?? ""] ?? "bin";
}

/** Returns `artifacts/ab/ab12….png`, where `ab12…` is the SHA-256 of the bytes. */
export function artifactKey({ sha256, contentType }: Pick<ArtifactHead, "sha256" | "contentType">): string {
  return `artifacts/${sha256.slice(0, 2)}/${sha256}.${EXTENSIONS[contentType] ?? "bin"}`;
}

/** Returns the URL at which the gateway serves an artifact. */
export function artifactUrl(publicUrl: string, key: string): string {
  return `${publicUrl}/files/${key.slice("artifacts/".length)}`;
}
