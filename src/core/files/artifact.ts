/**
 * An artifact is a file that a request produced: immutable, and addressed by its owner and its content. The
 * same bytes of one owner have the same key, so a retry that makes them again changes nothing. Nobody learns
 * from an address, or by guessing one, that another owner has the same bytes.
 */
import { createHmac } from "node:crypto";
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

/** Names an owner's file by its bytes: 64 hex digits that nobody can compute who has the bytes. */
export type NameArtifact = (ownerId: string, sha256: string) => string;

/** Creates the names of an installation: each an HMAC-SHA-256 of the owner and the digest. */
export function createNameArtifact(secret: Uint8Array): NameArtifact {
  return (ownerId, sha256) => createHmac("sha256", secret).update(`${sha256}/${ownerId}`).digest("hex");
}

/** Returns `artifacts/ab/ab12….png`, where `ab12…` is the artifact's name. */
export function artifactKey({
  name,
  contentType,
}: Pick<ArtifactHead, "contentType"> & { name: string }): string {
  return `artifacts/${name.slice(0, 2)}/${name}.${EXTENSIONS[contentType] ?? "bin"}`;
}

/** Returns the URL at which the gateway serves an artifact. */
export function artifactUrl(publicUrl: string, key: string): string {
  return `${publicUrl}/files/${key.slice("artifacts/".length)}`;
}
